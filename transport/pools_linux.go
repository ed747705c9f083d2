//go:build linux && !portable

package transport

// segment returns an empty one. Its nominal size is charged to the group until it comes back.
func (g *Group) segment() *segment {
	g.held.Add(segmentSize)
	if s, ok := g.pools.segments.Get().(*segment); ok {
		return s
	}
	return &segment{}
}

func (g *Group) putSegment(s *segment) {
	g.held.Add(-segmentSize)
	s.buf, s.frames, s.parcel, s.next = s.buf[:0], 0, nil, nil
	g.pools.segments.Put(s)
}

// inboxes returns memory to read into.
func (g *Group) inboxes() *[]byte {
	if b, ok := g.pools.inbox.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, inboxSize)
	return &b
}

func (g *Group) putInbox(b *[]byte) {
	if len(*b) == inboxSize {
		g.pools.inbox.Put(b)
	}
}

// parcel returns a zero one; its memory for meta and stage may be there already.
func (g *Group) parcel() *parcel {
	if p, ok := g.pools.parcels.Get().(*parcel); ok {
		return p
	}
	return &parcel{}
}

// putParcel takes a parcel back that is done and that nothing refers to.
func (g *Group) putParcel(p *parcel) {
	p.meta, p.stage, p.pieces, p.room = p.meta[:0], p.stage[:0], nil, p.room[:0]
	p.split, p.begun, p.size, p.left, p.lent, p.owned, p.files = false, false, 0, 0, 0, nil, nil
	p.state.Store(parcelLent)
	g.pools.parcels.Put(p)
}

func (g *Group) buffer(n int) []byte { return g.pools.buffer(n) }
func (g *Group) putBuffer(b []byte)  { g.pools.putBuffer(b) }
