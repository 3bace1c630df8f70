package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func send(method, path, body string) {
	request, err := http.NewRequest(method, os.Getenv("ORIGIN")+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("API_KEY"))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		panic(err)
	}
	fmt.Println(answer.Proto, answer.StatusCode, string(text), answer.Header)
}

func main() {
	fmt.Println(os.Environ(), os.Args)
	send("GET", "/echo", "")
	send("POST", "/echo?long", strings.Repeat("x", 100000))
}
