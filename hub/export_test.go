package hub

// RaceDetector says that this build has the race detector.
const RaceDetector = raceDetector

// Routes are how many routes c keeps.
func Routes(c *Client) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.routes)
}
