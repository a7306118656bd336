package pace

import "testing"

func TestAProgramIsBusyAtOnceAndAtRestAfterAWhile(t *testing.T) {
	var pacer pacer
	second := func(allocated uint64, wantChange, wantBusy bool) {
		t.Helper()
		if changed := pacer.step(allocated); changed != wantChange || pacer.busy != wantBusy {
			t.Fatalf("%d octets: changed %t, busy %t; want %t, %t", allocated, changed, pacer.busy, wantChange, wantBusy)
		}
	}
	second(0, false, false)
	second(busyBytes-1, false, false)
	second(busyBytes, true, true)
	second(busyBytes*100, false, true)
	for range quietSeconds - 1 {
		second(0, false, true)
	}
	// Work begins again before the burst is over.
	second(busyBytes, false, true)
	for range quietSeconds - 1 {
		second(1, false, true)
	}
	second(1, true, false)
	for range 100 {
		second(1, false, false)
	}
	second(busyBytes, true, true)
}
