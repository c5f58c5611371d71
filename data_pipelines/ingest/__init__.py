"""Raw sensor files -> prepared windows: who wore what, the processing of one person, and the engines that run it."""
