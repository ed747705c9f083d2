package supervisor

import "bytes"

// split calls emit for each line that b holds, without its line break, and returns the rest, of
// which the end is not there yet. A line longer than limit is emitted in parts of limit bytes each;
// all but the last of them with part set. What it emits does not depend on how a stream is cut, as
// long as the rest comes again in front of what follows.
func split(b []byte, limit int, emit func(line []byte, part bool)) (rest []byte) {
	for {
		i := bytes.IndexByte(b[:min(len(b), limit+1)], '\n')
		switch {
		case i >= 0:
			emit(bytes.TrimSuffix(b[:i], []byte{'\r'}), false)
			b = b[i+1:]
		case len(b) > limit:
			emit(b[:limit], true)
			b = b[limit:]
		default:
			return b
		}
	}
}
