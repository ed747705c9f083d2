// Package js reads JSON as JavaScript does, over byte slices and without building values.
//
// Scanner.Scan says whether a whole body is what JSON.parse would take, once its bytes are decoded
// as UTF-8 with replacement. Everything else in the package is for values of a body that has passed
// it: Fields and Members find the members of an object and hand out their raw bytes, and Truthy,
// Equal, Number and AppendString say what JavaScript would make of such bytes.
//
//	body      {"a" : [1, 2] , "b" : "x\u0041", "a" : 5.0}
//	Fields           "a" -> 5.0   (of repeated keys the last counts)   "b" -> "x\u0041"
//	AppendString     xA
//
// A raw value is the bytes of a value without white space around it; an empty slice stands for a
// value that is not there, JavaScript's undefined. Strings are compared by their UTF-16 units as
// JavaScript sees them, lone surrogates included.
//
// Nothing here recurses, so that the depth of a body costs no stack, and nothing allocates but the
// errors, AppendStringified, and numbers of more than 32 digits. Functions for raw values do not
// check their input again: given bytes that Scan has not accepted they return nonsense, or panic.
package js
