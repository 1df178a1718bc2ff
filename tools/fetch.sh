#!/bin/bash
# Into .tools/, checked against what this repository was tested with: AWS's own parts (the Lambda
# emulator and DynamoDB Local), and the schema that HAR files are held against.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh

mkdir -p .tools
scratch=$(mktemp -d .tools/fetching.XXXXXX)
trap 'rm -rf "$scratch"' EXIT

# --- the Lambda emulator (RIE): one file out of the wheel of AWS SAM -------------------------------
case $(uname -m) in
    x86_64) arch=x86_64 rie_sum=6b1e686e62ab2baf5759c412c4864276ef2a88b094fca53ec070637ccba9b9a5 ;;
    aarch64) arch=arm64 rie_sum=ec2e5d09633d853834c008b1ef264bf834b258a94d551d2b2074966494b39a21 ;;
    *) die "AWS's emulator does not exist for $(uname -m)" "it does for x86_64 and arm64" ;;
esac
rie=.tools/aws-lambda-rie-$arch
if ! verified "$rie_sum" "$rie"; then
    say "fetching AWS's Lambda emulator"
    .venv/bin/python -m pip download -qq --disable-pip-version-check --no-deps \
        --dest "$scratch" aws-sam-cli==1.170.0 || die "AWS's emulator could not be fetched" \
        "it is in the wheel of aws-sam-cli; \`lambdatrace invoke --rie PATH\` takes a copy of yours"
    .venv/bin/python -m zipfile -e "$scratch"/aws_sam_cli-*.whl "$scratch/sam"
    found=$scratch/sam/samcli/local/rapid/aws-lambda-rie-$arch
    verified "$rie_sum" "$found" || die "AWS's emulator is not the one that was expected" \
        "its checksum differs from the one in tools/fetch.sh: do not run it"
    chmod 755 "$found"
    mv "$found" "$rie"
fi

# --- DynamoDB Local: AWS's engine, inside an npm package of AWS Amplify ------------------------------
dynamodb=.tools/dynamodb
dynamodb_sum=3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9
if [ "$(cat $dynamodb/stamp 2>/dev/null || true)" != "$dynamodb_sum" ]; then
    command -v npm >/dev/null || die "npm cannot be found" "DynamoDB Local comes as an npm package"
    say "fetching DynamoDB Local"
    (cd "$scratch" && npm pack --silent amplify-dynamodb-simulator@2.9.30 >/dev/null) ||
        die "DynamoDB Local could not be fetched" "npm needs to reach a registry"
    archive=$(echo "$scratch"/amplify-dynamodb-simulator-*.tgz)
    verified "$dynamodb_sum" "$archive" || die "DynamoDB Local is not the one that was expected" \
        "its checksum differs from the one in tools/fetch.sh: do not run it"
    tar -xzf "$archive" -C "$scratch" package/emulator
    rm -rf "$dynamodb"
    mv "$scratch/package/emulator" "$dynamodb"
    printf '%s\n' "$dynamodb_sum" >"$dynamodb/stamp"
fi

# --- the schema of HAR files: an npm package ---------------------------------------------------------
har=.tools/har-schema
har_sum=2e7b84af0567ad7c6a5ddcb5f4c1bcc2bd29d4b089d734f628ac08517081be26
if [ "$(cat $har/stamp 2>/dev/null || true)" != "$har_sum" ]; then
    say "fetching the schema of HAR files"
    (cd "$scratch" && npm pack --silent har-schema@2.0.0 >/dev/null) ||
        die "the schema of HAR files could not be fetched" "npm needs to reach a registry"
    archive=$(echo "$scratch"/har-schema-*.tgz)
    verified "$har_sum" "$archive" || die "the schema of HAR files is not the one that was expected" \
        "its checksum differs from the one in tools/fetch.sh"
    tar -xzf "$archive" -C "$scratch" package/lib
    rm -rf "$har"
    mkdir "$har"
    mv "$scratch/package/lib" "$har/lib"
    printf '%s\n' "$har_sum" >"$har/stamp"
fi
