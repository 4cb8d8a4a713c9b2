"""From pixels to a person: masks and face boxes, found by nets. Every net stands behind one protocol."""
