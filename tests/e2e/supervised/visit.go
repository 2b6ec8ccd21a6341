// visit URL COUNT: so many requests at once, each on a connection of its own. Prints what the first
// one was told, how many were answered, how long all took, and the longest gap of a 10 ms timer.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

var (
	lock     sync.Mutex
	told     []byte
	answered int
)

func visit(url string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	body, _ := io.ReadAll(reply.Body)
	reply.Body.Close()
	lock.Lock()
	defer lock.Unlock()
	answered++
	told = body
}

func watch(stop chan bool, result chan time.Duration) {
	var longest time.Duration
	last := time.Now()
	for ticks := time.NewTicker(10 * time.Millisecond); ; {
		select {
		case <-ticks.C:
			now := time.Now()
			if now.Sub(last) > longest {
				longest = now.Sub(last)
			}
			last = now
		case <-stop:
			result <- longest
			return
		}
	}
}

func main() {
	var all sync.WaitGroup
	count, _ := strconv.Atoi(os.Args[2])
	stop, result := make(chan bool), make(chan time.Duration)
	go watch(stop, result)
	began := time.Now()
	for i := 0; i < count; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			visit(os.Args[1])
		}()
	}
	all.Wait()
	took := time.Since(began)
	stop <- true
	os.Stdout.Write(told)
	fmt.Println(answered, took.Seconds(), (<-result).Seconds())
}
