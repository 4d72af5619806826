#!/usr/bin/env python3
"""Writes the files of this folder with PyTorch (2.15), numpy and gguf (0.19), and what a reader must find in them.

usage: tests/formats/data/make.py

expected.safetensors has the tensors of checkpoint.pt under their flattened names, contiguous and in the types that
they are read as; protocol5.pt, deflated.pt and no_checksum.pt hold the same. every_type.gguf has beside each tensor of a
quantized type, NAME, what gguf-py makes of it, NAME.expected; `x` is what was quantized.
"""

import json
import os
import struct
import zipfile

import gguf
import numpy as np
import torch

FOLDER = os.path.dirname(os.path.abspath(__file__))


def at(name):
    return os.path.join(FOLDER, name)


def checkpoint():
    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    state = model.state_dict()  # an OrderedDict with the attribute _metadata
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.randn(2, 3)).sum().backward()
    optimizer.step()
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    half = torch.tensor([0.0, -0.0, 1.0, -2.5, 65504.0, 6e-8, -6.1e-5, float("inf"), float("-inf"), 0.1]).half()
    fused = torch.randn(6, 4)
    state.update(
        {
            "transposed": base.permute(2, 0, 1),
            "slice": base[:, 1:, ::2],
            "half": half,
            "half_transposed": torch.arange(6).half().reshape(2, 3).T,
            "brain": torch.tensor([1.0, -3.140625, 1e30]).bfloat16(),
            "double": torch.tensor([[1 / 3, 1e300]], dtype=torch.float64),
            "long": torch.tensor([-(2**62), 5]),
            "int": torch.tensor([[1], [-2]], dtype=torch.int32),
            "short": torch.tensor([-32768, 32767], dtype=torch.int16),
            "char": torch.tensor([-128, 127], dtype=torch.int8),
            "byte": torch.tensor([0, 255], dtype=torch.uint8),
            "bool": torch.tensor([True, False, True]),
            "scalar": torch.tensor(2.5),
            "empty": torch.zeros(0, 3),
            "fused": fused,
            "fused.first": fused[:2],
            "fused.last": fused[4:],
            "tied": model[0].weight.data,
            "parameter": torch.nn.Parameter(torch.tensor([9.0])),
        }
    )
    return {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "step": 3,
        "seed": 2**63 + 4096,
        "far": -(2**40),
        "loss": 0.1,
        "note": "gr\u00fc\u00df",
        "flag": True,
        "none": None,
        "sizes": [1, (2, 3)],
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "shape": torch.Size([5, 6]),
    }


def flatten(value, name, out):
    if isinstance(value, torch.Tensor):
        out[name] = value.detach().contiguous()
    elif isinstance(value, dict):
        for key, item in value.items():
            flatten(item, f"{name}.{key}" if name else str(key), out)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            flatten(item, f"{name}.{i}" if name else str(i), out)


def write_expected(tensors):
    names = {
        torch.float32: "F32",
        torch.bfloat16: "BF16",
        torch.float64: "F64",
        torch.int64: "I64",
        torch.int32: "I32",
        torch.uint8: "U8",
    }
    read_as = {torch.float16: torch.float32, torch.int16: torch.int32, torch.int8: torch.int32, torch.bool: torch.uint8}
    header, data = {}, b""
    for name, tensor in tensors.items():
        tensor = tensor.to(read_as.get(tensor.dtype, tensor.dtype))
        raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    with open(at("expected.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def write_torch():
    objects = checkpoint()
    tensors = {}
    flatten(objects, "", tensors)
    write_expected(tensors)
    torch.save(objects, at("checkpoint.pt"))
    torch.save(objects, at("protocol5.pt"), pickle_protocol=5)
    torch.serialization.set_crc32_options(False)
    torch.save(objects, at("no_checksum.pt"))
    torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(at("checkpoint.pt")) as source:
        with zipfile.ZipFile(at("deflated.pt"), "w", zipfile.ZIP_DEFLATED) as packed:
            for entry in source.namelist():
                packed.writestr(entry, source.read(entry))
    # Refused.
    torch.save({"w": torch.ones(2)}, at("legacy.pt"), _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(1, 1), at("module.pt"))
    torch.save({"x": np.float64(0.5)}, at("numpy.pt"))
    torch.save({"x": torch.ones(1, dtype=torch.complex64)}, at("complex.pt"))
    torch.save({"x": torch.ones(1).expand(3)}, at("expanded.pt"))


def write_gguf():
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((3, 64)) * np.array([[1e-3], [1], [100]])).astype(np.float32)
    x[1, 32:] = 0
    x[2, :4] = [127.5, -127.5, 63.5, 0.5]
    writer = gguf.GGUFWriter(at("every_type.gguf"), "llama")
    writer.add_uint8("a.u8", 255)
    writer.add_int8("a.i8", -128)
    writer.add_uint16("a.u16", 65535)
    writer.add_int16("a.i16", -32768)
    writer.add_uint32("a.u32", 2**32 - 1)
    writer.add_int32("a.i32", -(2**31))
    writer.add_uint64("a.u64", 2**64 - 1)
    writer.add_int64("a.i64", -(2**63))
    writer.add_float32("a.f32", 0.1)
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_string("a.string", "gr\u00fc\u00df")
    writer.add_array("a.strings", ["a", "", "\u2581b"])
    writer.add_array("a.ints", [1, -2, 3])
    writer.add_array("a.floats", [0.5, 1.5])
    writer.add_array("a.bools", [True, False])
    writer.add_array("a.nested", [[1, 2], [3]])
    writer.add_tensor("x", x)
    writer.add_tensor("double", np.array([1 / 3, 1e300]))
    writer.add_tensor("half", np.array([0, -0.0, 1, -2.5, 65504, 6e-8, -6.1e-5, np.inf], dtype=np.float16))
    for kind in (np.int8, np.int16, np.int32, np.int64):
        limits = np.iinfo(kind)
        writer.add_tensor(np.dtype(kind).name, np.array([[limits.min], [limits.max]], dtype=kind))
    types = gguf.GGMLQuantizationType
    for kind in (types.BF16, types.Q8_0, types.Q4_0, types.Q4_1, types.Q5_0, types.Q5_1):
        packed = gguf.quants.quantize(x, kind)
        name = kind.name.lower()
        writer.add_tensor(name, packed, raw_dtype=kind)
        writer.add_tensor(name + ".expected", gguf.quants.dequantize(packed, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


write_torch()
write_gguf()
