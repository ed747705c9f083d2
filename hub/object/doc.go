// Package object makes Go values callable from other processes, Go and Node, and calls theirs.
//
//	Go                                   hub                               Go or Node
//	object.Call[float64]("sqrt", 2)  ->  route of "math"  ->  Publish(ctx, client, "math", v)
//	                                 <-                   <-  v.Sqrt(2), as JSON
//
// Publish offers the exported methods and fields of a value, or what a Map lists, under a name at
// the hub. A method may take a context first, then anything that JSON can write, any number of it
// when it is variadic; it may return any number of such results and an error last. A parameter or
// result of type Raw passes as bytes. Call, Property and Introspect use an object; Invoke does so
// with arguments that are JSON already.
//
// Names. Others call a Go method by the name that JavaScript would give it: Abs is abs, HTTPGet is
// httpGet; see NameOf. Its Go name works, too. Names in a Map, and those of objects of Node, are
// taken as they are.
//
// Errors of methods cross as objects with stack, message, name and code, as JavaScript's do. In Go
// they are an *Error, wherever the object is; errors.Is finds ErrNoMethod, ErrArguments, ErrResult
// and ErrPanic. What is wrong with a call is said with what would be right: the methods that there
// are, or the types of the arguments.
//
// Subscriptions. Published.Emit pushes to who has subscribed to a topic, by a Listener, or by
// subscribe of a proxy in Node. Pushes of one server to one listener keep their order. A client is
// on a topic once; one that has been away for 30 s is taken off. A listener hears on when a server
// has restarted, and from those that come later; see Listener for whom it takes for the same one.
// Config is such an object: it keeps a value for each topic, and Pandora's ConfigClient reads it as
// it does its own.
//
// The methods of a value are found by reflection when it is published, and called by it; those made
// by Func0 to Func3 are called directly, and their plain arguments and results are read and written
// without reflection or allocation.
//
// The package does not balance (the hub does), does not make types from an introspection, does not
// repeat calls, and has no streams.
package object
