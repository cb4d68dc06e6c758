def text(f): return ''
