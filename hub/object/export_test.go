package object

import "time"

// SetGrace has p wait for so long for subscribers that have gone. It is for before the first one.
func (p *Published) SetGrace(d time.Duration) { p.grace = d }
