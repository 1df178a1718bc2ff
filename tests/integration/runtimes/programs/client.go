// Go's net/http, built without cgo: its own resolver, its own TLS, and no libc.
// PLAIN-URL SECURE-URL; the certificate comes by SSL_CERT_FILE.
package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"os"
)

func ask(method, url string, size int) {
	request, err := http.NewRequest(method, url, bytes.NewReader(make([]byte, size)))
	if err != nil {
		log.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err = io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != 200 {
		log.Fatal(url, answer.Status, err)
	}
}

func main() {
	plain, secure := os.Args[1], os.Args[2]
	ask("GET", plain+"/one", 0)
	ask("POST", plain+"/two", 100_000)
	ask("GET", plain+"/three", 0)
	ask("GET", secure+"/four", 0)
	ask("POST", secure+"/five", 100_000)
}
