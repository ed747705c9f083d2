package hub

// RaceDetector says that this build has the race detector.
const RaceDetector = raceDetector
