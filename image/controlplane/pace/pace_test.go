package pace

import "testing"

func TestAProgramIsBusyByWhatItAllocatedInTheLastSeconds(t *testing.T) {
	var pacer pacer
	second := func(allocated uint64, wantChange, wantBusy bool) {
		t.Helper()
		if changed := pacer.step(allocated); changed != wantChange || pacer.busy != wantBusy {
			t.Fatalf("%d octets: changed %t, busy %t; want %t, %t", allocated, changed, pacer.busy, wantChange, wantBusy)
		}
	}
	rest := func(seconds int, wantBusy bool) {
		t.Helper()
		for range seconds {
			second(1, false, wantBusy)
		}
	}
	// A burst counts at once, and as long as it is in the window.
	second(busyBytes-1, false, false)
	second(1, true, true)
	rest(windowSeconds-2, true)
	second(busyBytes/2, true, false)
	// Work that goes on is busy without a pause, and no longer.
	second(busyBytes/2, true, true)
	for range 100 {
		second(busyBytes/windowSeconds+1, false, true)
	}
	second(0, true, false)
	rest(100, false)
	// A list now and then is no work.
	for range 20 {
		second(busyBytes/4, false, false)
		rest(4, false)
	}
}
