// Go's own server and client: `both origin`, or `both client TLS-ADDRESS SECONDS`.
package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if os.Args[1] == "origin" {
		origin()
	} else {
		client(os.Args[2], os.Args[3])
	}
}

// Says its port in the first line of its output, and ends when its input does.
func origin() {
	mux := http.NewServeMux()
	say := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text) }
	}
	mux.HandleFunc("/admin/", say("admin handler"))
	mux.HandleFunc("/open", say("open"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(listener, mux)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	io.Copy(io.Discard, os.Stdin)
}

// An upload that waits for 100 Continue for as long as it waits at all.
func client(address, seconds string) {
	patience, err := time.ParseDuration(seconds + "s")
	if err != nil {
		panic(err)
	}
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{
			TLSClientConfig:       &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2:     http2,
			ExpectContinueTimeout: 2 * patience,
		}
		if !http2 {
			transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		request, err := http.NewRequest("POST", "https://"+address+"/upload", bytes.NewReader(make([]byte, 200000)))
		if err != nil {
			panic(err)
		}
		request.Header.Set("Expect", "100-continue")
		response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
		if err != nil {
			fmt.Println("expect failed:", err)
			continue
		}
		body, _ := io.ReadAll(response.Body)
		fmt.Println("expect", response.StatusCode, response.Proto, string(bytes.TrimSpace(body)))
	}
}
