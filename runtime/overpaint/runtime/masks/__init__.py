"""Masks: a part of the picture is repainted, and the rest is kept, to the pixel.

White is repainted. A mask goes through these stations, one file each:

    read      a file or an array -> grey
    ground    the picture and its mask, of one size; extend makes both larger
    region    the box around it that is repainted at full resolution, where that is asked for
    masking   what it means for one run: cells, what may be seen, what fills it
    keeping   what puts the rest back after each step
    paste     the repainted part into the picture as it was read
"""
