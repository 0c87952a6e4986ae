"""A module per package that registers. Each has

    register(fixed: sitk.Image, moving: sitk.Image, workdir: Path, task: Task) -> Registered

with the volumes as float32 as they were scanned, and a folder of its own for the package's files. It may take the
process: `run_method` starts one for each registration.
"""
