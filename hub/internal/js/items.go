package js

// Items walks over the items of an array, in their order.
type Items struct {
	b []byte
	i int // of the next item, or of the closing bracket
}

// ItemsOf begins the walk over the array raw; anything that is not an array has no items.
func ItemsOf(raw []byte) Items {
	if KindOf(raw) != Array {
		return Items{}
	}
	return Items{b: raw, i: space(raw, 1)}
}

// Next returns the raw value of the next item.
func (s *Items) Next() (value []byte, ok bool) {
	if s.i >= len(s.b)-1 {
		return nil, false
	}
	n := skip(s.b, s.i)
	value = s.b[s.i:n:n]
	i := space(s.b, n)
	if i < len(s.b) && s.b[i] == ',' {
		i = space(s.b, i+1)
	}
	s.i = i
	return value, true
}
