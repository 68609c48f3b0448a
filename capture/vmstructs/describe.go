package vmstructs

import (
	"github.com/leakscope/leakscope/heap"
)

// Descriptions are the classes of a JVM, for a heap dump that tells of them too
// late.
type Descriptions struct{ j *jvm }

// Describe reads the classes and their fields. Neither changes while a class is
// loaded, so that is done before the target stands still for its dump.
func (t *Target) Describe() (*Descriptions, error) {
	j := t.j
	if err := j.loadClasses(); err != nil {
		return nil, err
	}
	var instances []*klass
	for _, k := range j.klasses {
		// A class that is being unloaded, or not linked yet, has no objects.
		if k.helper > 0 && k.fields != 0 && k.pool != 0 {
			instances = append(instances, k)
		}
	}
	return &Descriptions{j}, j.loadFields(instances)
}

// Classes returns the classes with the places that their mirrors have now: a
// collection moves them, but none runs while a dump is written.
func (d *Descriptions) Classes() ([]heap.KnownClass, error) {
	j := d.j
	if err := j.readMirrors(); err != nil {
		return nil, err
	}
	var all []heap.KnownClass
	for _, k := range j.klasses {
		if k.helper <= 0 || !k.loaded || k.mirror == 0 {
			continue
		}
		c := heap.KnownClass{ID: k.mirror, Name: j.classes[k.id].Name}
		if super := j.byPlace[k.super]; super != nil {
			c.Super = super.mirror
		}
		for _, f := range k.own {
			c.Fields = append(c.Fields, f.Field)
		}
		all = append(all, c)
	}
	return all, nil
}
