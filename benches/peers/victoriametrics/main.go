// Parses one page of Prometheus text with VictoriaMetrics' parser, over and over, whenever it is told to.
//
// The page is the file named by the first argument. Each line on standard input is a number of milliseconds: for
// about so much CPU time it parses, and then answers with the rate in MB/s of CPU time. The end of standard input
// ends it. It is driven by the figures of the package benches, which alternates it with our parser.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/protoparser/prometheus"
)

// Of getrusage(2): this thread alone. The syscall package does not name it.
const rusageThread = 1

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(rusageThread, &usage); err != nil {
		fail(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func main() {
	runtime.LockOSThread()
	content, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail(err)
	}
	page := string(content)

	var rows prometheus.Rows
	refused := 0
	parse := func() {
		rows.Reset()
		rows.UnmarshalWithErrLogger(page, func(string) { refused++ })
	}
	parse()
	fmt.Println(len(rows.Rows), refused)

	requests := bufio.NewScanner(os.Stdin)
	for requests.Scan() {
		millis, err := strconv.Atoi(requests.Text())
		if err != nil {
			fail(err)
		}
		slice := time.Duration(millis) * time.Millisecond
		start := cpuTime()
		calls := 0
		var elapsed time.Duration
		for elapsed < slice {
			for i := 0; i < 16; i++ {
				parse()
			}
			calls += 16
			elapsed = cpuTime() - start
		}
		fmt.Println(float64(calls) * float64(len(page)) / elapsed.Seconds() / 1e6)
	}
}
