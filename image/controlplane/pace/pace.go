// Package pace lets the garbage collector of a program that mostly rests be
// generous while the program works.
package pace

import (
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"
)

// Variable names the heap's growth, in per cent as GOGC, between two
// collections of a busy program. Without it GOGC alone counts.
const Variable = "BLOOMERY_BUSY_GOGC"

const (
	// So many seconds decide: one list of a thousand objects is no burst.
	windowSeconds = 10
	// What a program at rest allocates in that time for its probes and watches
	// is some MiB, what one that works allocates is a thousand MiB and more.
	busyBytes = 64 << 20
)

// pacer decides when a program is busy. A plane rests most of its life, so its
// heap is kept small (GOGC); but the cost of collecting one allocated byte is
// the inverse of the heap's growth, and was half of the API server's CPU time
// while machines came. GOMEMLIMIT bounds the heap in both cases.
type pacer struct {
	busy   bool
	window [windowSeconds]uint64
	next   int
	sum    uint64
}

// step takes what was allocated in the last second, and says whether the
// program has become busy or has come to rest.
func (p *pacer) step(allocated uint64) (changed bool) {
	p.sum += allocated - p.window[p.next]
	p.window[p.next] = allocated
	p.next = (p.next + 1) % windowSeconds
	busy := p.sum >= busyBytes
	changed, p.busy = busy != p.busy, busy
	return changed
}

// Collector sets the heap's growth to that of a busy program and back for
// as long as the program runs.
func Collector() {
	growth, err := strconv.ParseUint(os.Getenv(Variable), 10, 16)
	if err != nil || growth == 0 {
		return
	}
	resting := 100
	if set, err := strconv.ParseUint(os.Getenv("GOGC"), 10, 16); err == nil {
		resting = int(set)
	}
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	go func() {
		var pacer pacer
		before := uint64(math.MaxUint64)
		for range time.Tick(time.Second) {
			metrics.Read(sample)
			now := sample[0].Value.Uint64()
			changed := pacer.step(now - min(before, now))
			before = now
			switch {
			case changed && pacer.busy:
				debug.SetGCPercent(int(growth))
			case changed:
				debug.SetGCPercent(resting)
				// What the burst took goes back to the machine at once.
				debug.FreeOSMemory()
			}
		}
	}()
}
