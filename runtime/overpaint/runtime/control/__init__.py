"""Control networks: a second picture says where things are (ControlNet).

control    what a caller asks of one network
canny      edges, made here
picture    whatever was given -> the map that the network sees
steering   the networks' sessions around one run: hints once, residuals in each step
"""
