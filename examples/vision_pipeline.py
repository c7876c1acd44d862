"""The main job, from a program of one's own: `python examples/vision_pipeline.py [DIR]`.

It is what `ironcliw run` does: real pictures are decoded, resized and normalised on the image workers and
classified by an INT8 network, while one of the workers crashes and the event loop's lag is measured. Read
it at `ironcliw.cli.vision`.
"""

import sys

from ironcliw.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
