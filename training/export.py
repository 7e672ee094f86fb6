"""Export: `python -m training.export --checkpoint FILE --format onnx --out FILE`.

Writes the backbone of a checkpoint, ours or the authors' .pth, for other programs. Every format carries in its
metadata how the pictures are prepared, as the entry low_resolution_face_recognition, a JSON text.
"""

from pathlib import Path

from shards.command import Parser, UserError, run


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m training.export", description=__doc__)
    command.add_argument(
        "--checkpoint", type=Path, required=True, help="a file of a recogniser, of ours or another project"
    )
    command.add_argument(
        "--format",
        choices=["safetensors", "onnx", "torchscript"],
        required=True,
        help="safetensors: the weights alone; onnx, torchscript: the network with them",
    )
    command.add_argument(
        "--averaged", action="store_true", help="the moving average of the weights, of a run with --optimizer.average"
    )
    command.add_argument("--out", type=Path, required=True, help="the file; an older one is replaced")
    return command


def main() -> None:
    """Export a backbone."""
    options = parser().parse_args()
    if not options.out.absolute().parent.is_dir() or options.out.is_dir():
        raise UserError(f"{options.out} cannot be written; name a file in a folder that is there")
    from shards.writer import write_atomically
    from training.networks.export_formats import FORMATS
    from training.networks.exported_file import load_trainable
    from training.networks.input_adapter import adapt_input

    loaded = load_trainable(options.checkpoint, options.averaged)
    # Out goes the network as it came in: with its own colours and scale, which the metadata names.
    adapt_input(loaded.backbone, None)
    content = FORMATS[options.format](loaded)
    write_atomically(options.out, content)
    print(f"{options.out}: {loaded.name} as {options.format}, {len(content) / 1e6:.1f} MB")
    if options.format == "onnx":
        print(f"what it loses, by size: python -m evaluation --checkpoint {options.checkpoint} --parity {options.out}")


if __name__ == "__main__":
    run(main)
