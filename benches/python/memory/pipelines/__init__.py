"""The same job as two kinds of programs do it: JPEG files of 1080p are decoded, resized to 640x360,
normalised to float32 CHW and scored, 32 of them in flight.

`pipeline_opencv.py` and `pipeline_ironcliw.py` are programs of their own, in three and two styles; `run.py`
starts one and reads what it says, `job.py` is what they have in common.
"""
