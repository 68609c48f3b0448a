// Package report renders an analyze.Result for people and programs.
package report
