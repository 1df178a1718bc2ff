#!/bin/sh
# curl: PLAIN-URL SECURE-URL CERTIFICATE [OPTION...]
set -eu
plain=$1 secure=$2 certificate=$3
shift 3
head -c 100000 /dev/zero | exec curl --silent --show-error --fail --cacert "$certificate" "$@" \
    --output /dev/null "$plain/one" \
    --next --silent --show-error --fail --output /dev/null --data-binary @- "$plain/two" \
    --next --silent --show-error --fail --output /dev/null "$plain/three" \
    --next --silent --show-error --fail --cacert "$certificate" "$@" --output /dev/null "$secure/four" \
    --next --silent --show-error --fail --cacert "$certificate" "$@" --output /dev/null \
    --data-binary @"$0" "$secure/five"
