// Package units writes and reads amounts of memory and time.
//
// What flows in: numbers of bytes and seconds, or the text a person typed.
// What flows out: short text with a unit, or a number. Binary and decimal
// units are different units here: 8MiB is 8,388,608 bytes and 8MB is
// 8,000,000. Refused: a number without a unit, and units that could be read
// both ways (8M, 8mb).
package units
