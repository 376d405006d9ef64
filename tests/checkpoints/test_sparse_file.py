"""A sparse file gives back what went in, to the bit; it is small; what is wrong is refused in one line."""

from __future__ import annotations

import base64
import json
import math
import random
import re
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import checkpoints
import transfer
from checkpoints import Backbone, Card, InputError
from checkpoints.sparse import limits, table
from checkpoints.weights_file import serialized

from .networks import assert_same, trunk_of
from .sparse_weights import assert_bits_equal, pruned

PAPERS = (0.36, 0.5904, 0.738, 0.8322, 0.893, 0.9312, 0.956, 0.9717, 0.982)
DTYPES = [getattr(torch, name) for name in table.DTYPES]


def rows(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        return dict(json.loads(file.metadata()["sparse_tensors"]))


# What comes back


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(st.integers(0, 40), max_size=3),
    sparsity=st.sampled_from([0.0, 0.3, 0.6, 0.95, 0.999, 1.0]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_any_tensor_comes_back_bit_for_bit(shape: list[int], sparsity: float, dtype: torch.dtype, seed: int) -> None:
    source = np.random.default_rng(seed)
    words = source.integers(0, 256, (math.prod(shape), dtype.itemsize), np.uint8)  # nan of any payload among floats
    words[source.random(len(words)) < sparsity] = 0
    if dtype == torch.bool:
        words &= 1
    weights = {"w": torch.from_numpy(words).view(-1).view(dtype).view(shape)}
    with tempfile.TemporaryDirectory() as folder:
        path = transfer.save_sparse(weights, Path(folder) / "w.safetensors")
        assert_bits_equal(transfer.load_sparse(path), weights)


def test_minus_zero_nan_and_infinity_are_values(tmp_path: Path) -> None:
    value = torch.zeros(1000)
    value[::7], value[1::7], value[2::70], value[3::70] = 1.0, -0.0, math.nan, -math.inf
    value.view(torch.int32)[500] = 0x7FA00001  # a signalling nan
    path = transfer.save_sparse({"w": value}, tmp_path / "w.safetensors")
    assert rows(path)["w"]["kept"] == int((value.view(torch.int32) != 0).sum())
    assert_bits_equal(transfer.load_sparse(path), {"w": value})


def test_every_form_is_used_and_is_the_smallest(tmp_path: Path) -> None:
    weights = {str(sparsity): pruned((50_000,), sparsity) for sparsity in (0.0, 0.3, 0.8, 0.98, 1.0)}
    path = transfer.save_sparse(weights, tmp_path / "w.safetensors")
    found = {name: (row.get("places"), row.get("values")) for name, row in rows(path).items()}
    assert found == {
        "0.0": (None, None), "0.3": ("bits", "raw"), "0.8": ("gaps", "raw"), "0.98": ("gaps", "split"),
        "1.0": ("gaps", "raw"),
    }  # fmt: skip


def test_strided_shared_and_trained_tensors(tmp_path: Path) -> None:
    value = pruned((60, 50), 0.9)
    weights = {"t": value.t(), "again": value, "slice": value[::2, 1:], "p": nn.Parameter(value)}
    path = transfer.save_sparse(weights, tmp_path / "w.safetensors")
    wanted = {name: each.detach().contiguous() for name, each in weights.items()}
    assert_bits_equal(transfer.load_sparse(path), wanted)


def test_gaps_of_any_length(tmp_path: Path) -> None:
    value = torch.zeros(300_000)
    value[torch.tensor([0, 1, 255, 510, 511, 766, 1022, 1532, 300_000 - 1])] = 1.0
    path = transfer.save_sparse({"w": value}, tmp_path / "w.safetensors")
    assert path.stat().st_size < 1000
    assert_bits_equal(transfer.load_sparse(path), {"w": value})


@pytest.mark.parametrize("sparsity", PAPERS)
def test_the_size_is_near_the_entropy(tmp_path: Path, sparsity: float) -> None:
    value = pruned((512, 64, 3, 3), sparsity)
    path = transfer.save_sparse({"w": value}, tmp_path / "w.safetensors")
    total, kept = value.numel(), int((value != 0).sum())
    density = kept / total
    entropy = -total * (density * math.log2(density) + (1 - density) * math.log2(1 - density)) / 8
    assert path.stat().st_size <= 1.04 * (entropy + 4 * kept)


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    weights = {"a": pruned((100, 100), 0.9), "b": torch.ones(3)}
    notes = {str(number): "note" for number in range(9)}
    files = [transfer.save_sparse(weights, tmp_path / f"{n}", metadata=notes).read_bytes() for n in range(4)]
    assert len(set(files)) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_values(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = {"w": pruned((100, 90), 0.9), "head": pruned((10, 10), 0), "bn": pruned((9,), 0), "n": torch.tensor(3)}
    wide, narrow = (transfer.save_sparse(weights, tmp_path / str(d), d).stat().st_size for d in (None, dtype))
    assert narrow < 0.7 * wide
    wanted = weights | {name: weights[name].to(dtype).float() for name in ("w", "head")}
    assert_bits_equal(transfer.load_sparse(tmp_path / str(dtype)), wanted)


def test_what_rounds_to_zero_is_zero_and_what_overflows_is_refused(tmp_path: Path) -> None:
    small, large = torch.full((40, 40), 1e-9), torch.full((40, 40), 1e6)
    path = transfer.save_sparse({"w": small}, tmp_path / "w", torch.float16)
    assert rows(path)["w"]["kept"] == 0
    with pytest.raises(InputError, match=r"w has the value 1e\+06, too large for torch.float16"):
        transfer.save_sparse({"w": large}, tmp_path / "w", torch.float16)
    assert not bool(transfer.load_sparse(path)["w"].any())


# Backbones


@pytest.fixture
def backbone(small: nn.Module) -> Backbone:
    weights = trunk_of(small.state_dict())
    weights |= {key: pruned(tuple(v.shape), 0.9) for key, v in weights.items() if v.dim() > 1}
    card = Card("mine", licence="CC0-1.0", notes="made in a test")
    return Backbone("test_resnet", weights, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic", (3, 64, 64), card)


def test_a_backbone_with_its_card_is_loaded_by_its_path(tmp_path: Path, backbone: Backbone) -> None:
    dense = checkpoints.save(backbone, tmp_path / "dense.safetensors")
    with safe_open(dense, framework="pt") as file:
        metadata = file.metadata()
    path = transfer.save_sparse(load_file(dense), tmp_path / "small.sparse", metadata=metadata)
    assert path.stat().st_size < 0.25 * dense.stat().st_size
    for again in (checkpoints.load(path), checkpoints.load(f"{path}@test_resnet")):
        assert_same(again.state_dict, backbone.state_dict)
        assert replace(again.card, sha256=None) == backbone.card
        assert (again.mean, again.std, again.input_size) == (backbone.mean, backbone.std, backbone.input_size)


def test_without_metadata_the_architecture_is_asked_for(tmp_path: Path, backbone: Backbone) -> None:
    path = transfer.save_sparse(backbone.state_dict, tmp_path / "small.safetensors")
    assert checkpoints.load(f"{path}@test_resnet").digest() == backbone.digest()
    with pytest.raises(InputError, match="does not say its architecture"):
        checkpoints.load(path)


# What cannot be written


@pytest.mark.parametrize(
    ("weights", "options", "says"),
    [
        ({"w": [1.0]}, {}, r"w is no plain tensor \(list\)"),
        ({"w": torch.eye(3).to_sparse()}, {}, "w is no plain tensor .*sparse"),
        ({"w": torch.ones(3, dtype=torch.complex64)}, {}, "complex64"),
        ({"w": torch.ones(3)}, {"dtype": torch.int8}, "cannot store values as torch.int8"),
        ({"w": torch.ones(3)}, {"metadata": {"sparse_version": "2"}}, "metadata key sparse_version belongs"),
        ({"w": torch.ones(3)}, {"metadata": {"epochs": 3}}, "metadata has 'epochs': 3; give strings alone"),
        ({"__metadata__": torch.ones(3)}, {}, "a tensor is named '__metadata__'"),
        ({0: torch.ones(3)}, {}, "a tensor is named 0; give a string"),
        ({"w": pruned((999,), 0.9), "values:w": torch.ones(3)}, {}, "two tensors named values:w meet"),
    ],
)
def test_what_cannot_be_written_is_said(
    tmp_path: Path, weights: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        transfer.save_sparse(weights, tmp_path / "w.safetensors", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate")])
def test_too_little_memory_is_not_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise error

    path = transfer.save_sparse({"w": pruned((5000,), 0.9)}, tmp_path / "w.safetensors")
    monkeypatch.setattr(torch, "zeros", full)
    with pytest.raises(MemoryError):
        transfer.load_sparse(path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, where a folder is wanted")
    with pytest.raises(InputError, match="cannot write"):
        transfer.save_sparse({"w": torch.ones(3)}, tmp_path / "file" / "w.safetensors")


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FREE", 0)
    with pytest.raises(InputError, match=r"unpack to 8000000, at most 0 \+ 1024 times the file"):
        transfer.save_sparse({"w": torch.zeros(2_000_000)}, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


# What cannot be read


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        transfer.load_sparse(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    weights = {"bits": pruned((40, 40), 0.5), "gaps": pruned((60, 100), 0.98), "bn": torch.ones(4)}
    path = transfer.save_sparse(weights, tmp_path / "w.safetensors", metadata={"note": "of a test"})
    forms = [(row.get("places"), row.get("values")) for row in rows(path).values()]
    assert forms == [("bits", "raw"), ("gaps", "split"), (None, None)]
    return path


def damaged(path: Path, step: int) -> None:
    """Cut the file, and flip a bit, at each ``step``-th byte."""
    content, source = path.read_bytes(), random.Random(0)
    for place in range(0, len(content), step):
        path.write_bytes(content[:place])
        refusal(path)
        changed = bytearray(content)
        changed[place] ^= 1 << source.randrange(8)
        path.write_bytes(changed)
        refusal(path)


def test_cuts_and_flipped_bits_are_refused(sound: Path) -> None:
    damaged(sound, step=13)


@pytest.mark.slow
def test_every_cut_and_a_flipped_bit_in_every_byte_are_refused(sound: Path) -> None:
    damaged(sound, step=1)


def test_files_of_other_kinds(tmp_path: Path) -> None:
    save_file({"w": torch.ones(3)}, tmp_path / "dense.safetensors")
    torch.save({"w": torch.ones(3)}, tmp_path / "w.pth")
    (tmp_path / "empty").write_bytes(b"")
    assert "is no sparse file; transfer.save_sparse writes one" in refusal(tmp_path / "dense.safetensors")
    assert "truncated or damaged" in refusal(tmp_path / "w.pth")
    assert "truncated or damaged" in refusal(tmp_path / "empty")
    assert "not there" in refusal(tmp_path / "none")
    assert "is a folder" in refusal(tmp_path)


Change = Callable[[dict[str, Any], dict[str, Tensor], dict[str, str]], object]


def forged(path: Path, change: Change) -> str:
    """Change rows, entries or metadata of a file, put right checksums on it, and return how it is refused."""
    tensors, found = load_file(path), rows(path)
    metadata = {"sparse_version": "1", "sparse_crc32": table.UNKNOWN}
    change(found, tensors, metadata)
    for name, row in found.items():
        parts = [name] if "places" not in row else [f"places:{name}", f"values:{name}"]
        content = b"".join(tensors[part].numpy().tobytes() for part in parts if part in tensors)
        row["crc32"] = zlib.crc32(content)
    metadata.setdefault("sparse_tensors", json.dumps(found))
    path.write_bytes(table.signed(serialized(tensors, metadata)))
    return refusal(path)


def frame(content: bytes, *, stated: bool = True) -> Tensor:
    made = zstandard.ZstdCompressor(write_content_size=stated).compress(content)
    return torch.from_numpy(np.frombuffer(bytearray(made), np.uint8))


def put(name: str, value: Callable[[Tensor], Tensor]) -> Change:
    return lambda _, tensors, __: tensors.update({name: value(tensors[name])})


def row(name: str, **fields: Any) -> Change:
    return lambda found, _, __: found[name].update(fields)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _, __, metadata: metadata.update(sparse_version="2"), "sparse file of version '2'; version 1 is read"),
        (lambda _, __, metadata: metadata.update(sparse_tensors="[" * 9999), "row "),
        (lambda _, __, metadata: metadata.update(sparse_tensors='{"a": 1}'), "row a"),
        (lambda found, _, __: found.pop("bn"), "its entries are not those of its rows"),
        (lambda _, tensors, __: tensors.update(more=torch.ones(1)), "its entries are not those of its rows"),
        (lambda _, tensors, __: tensors.pop("values:gaps"), "its entries are not those of its rows"),
        (row("bits", shape=[2**20, 2**20]), "that unpack to 43980465"),
        (row("bits", shape=[40, -40]), "row bits.*shape"),
        (row("bits", shape=[40, 41]), "bits: 200 bytes of bits for 1640 weights"),
        (row("bits", kept=3), "bits: .*values of shape"),
        (row("bits", stored="float16"), "bits: torch.float32 values of shape"),
        (row("bits", dtype="complex64"), "row bits.*dtype"),
        (row("bits", places="runs"), "row bits.*places"),
        (row("bits", values="split"), "bits: "),
        (row("bits", colour="red"), "row bits"),
        (row("gaps", shape=[10]), "gaps: "),
        (row("gaps", kept=1), "gaps: "),
        (row("gaps", kept=2**62), "gaps: "),
        (row("gaps", values="raw"), "gaps: torch.uint8 values"),
        (row("gaps", stored="uint8"), "gaps: "),
        (put("places:bits", lambda value: value | 128), "places for"),
        (put("places:gaps", lambda _: frame(bytes(2**20))), "a zstd frame of 1048576 bytes"),
        (put("places:gaps", lambda _: frame(bytes(40), stated=False)), "a zstd frame of 18446744073709551615 bytes"),
        (put("places:gaps", lambda _: frame(b"\xfe" * 40)), "places for"),
        (put("places:gaps", lambda value: torch.cat([value, value])), "gaps: "),
        (put("places:gaps", lambda value: value[:-1].clone()), "gaps: "),
        (put("values:gaps", lambda value: value[:-1].clone()), "gaps: "),
        (put("values:gaps", lambda _: torch.zeros(1, dtype=torch.uint8)), "split values"),
        (put("values:bits", lambda value: value[:-1].clone()), "were stated"),
    ],
)
def test_a_file_that_was_made_to_deceive(sound: Path, change: Change, says: str) -> None:
    assert re.search(says, forged(sound, change))


# What was written once stays readable: the bytes of version 1, as they were when it was made

GOLDEN = (
    "c-rk*eM}Q~7=8*ZRsn}t6%<W53PUV<*DnfN<l5Ci{TPUXUj<sE3<ROl>J(OYA|mrE7160984{h$O@oU%1%-;b8N{iHOt-nsi5eG&b1oV+Lv}6O"
    "EV3E@-EzO@p3CLE_kH^O-rw85PRxgUl@ghm3(YoDw#jD7%p~GU39H3aY&B=jFP<-#5pjf4X{KZ*1xZN%dSf#eT8oOU?7LC}k!vc*F|cI@BHOmi"
    "VrCx=L|&ndQW*%TfpCkkF$JZRkusTFNwPs}uF0J^PfkiHl1yhq`DTlajj&lUt^`|Au{rx0DNBKAzS-&yX64ze?${Dj!Qww-#iq9mgk9=-C^kQ9"
    "D5s#vWOEtuuq0EEY8j=7p<+BO$;dv2l#0G~JcT?Ay=k)aGi0?C<k@;HSqjXBwq-A3ic(Xt@>rRQQupmsA5&`ei@ADkn+pHo&{T@P9U_$ql438l"
    "-Tw6SmzayKc}0cn=~Ju_QRo^Ow+b84s}!z8mv7c~x|DEFRZ&ik)of$uWgaP2r?WM^e&TxD;#vPXJ8@6z*?snxP)p@Xg~CI{HGq9QP$~}%*F^Of"
    "aY;y3%2>CX-j4OtNmYBu$YYfKRa^p6RcwshL#6+oUO<PHkjBUro^D)I{I4o1d4CaCy);HaQ68;%u853H?XSWLNMlqoS-RaWcCUf>d&P6)$dMyQ"
    "jvP61<j9dD$NwIA;J|?c2M!!KaNxj!!~YXAyZJK?O)Lr4ysFz2WgT~5Nmz<Nlb>}m-F~R8wLETr(l(~YJif~Lh5y1kSEp^}z3nKQ5U?cS;-Vp!"
    "AMF|0VY+i<e&-pHHUVdTe|Y7M4CC3um+F3a(lFv)bW>xSH+93eRr~nUbGPq(e^V)sGT(e$AOGXDRo`Tsyb`-R)Ti@G^CvgDvhLqV`7n33WTA2V"
    "2ZkwHv++@brYk<!uQ~Phl&{|p(Lea^+wPnSyXErv-Kwo?e;FIHz5PMPD@WT$r5bk#H$L%htJz{Wf9|*Vdi^z8d2?lFUBs--Gw8aXMy$`-Hu>;-"
    "+AllioDSXF(w%wNvU7BJe2={AO!5A?!IM9pogofc+Pu1=He%VzuBKxV37sh!x37zml79YZ_>qYb>gJ9O9g0+yPg8ZlU`zfs->~ch7gil!w)d;{"
    "cP}+2jEY>aPno~?&WW2XCG*z2RO09TnJsyNK51X&29@n#O*C;UujkjP<vPYLeZV86XA_>}Z7E%(+4Ce>KRE7@#WE1plA6lT>(}zMOzljxnl-{j"
    "6KZtVYc&l%Cj}5mY);XRfxh*}r)q}`4D{MTCstJkB?r_YnF$mRihQjz)Gr7@JX-7(&RpPEHs$*%`Fgq@^~VJ%BmB1tt}OSetZ}YCUsmG~<`+7$"
    "D=!9@#a4w286gs@caLNmcw*ro&7@rc+c)y*Fc_0h4G%dHq#+X}$z+<WiqJABToJZ$(A?7lyvET^JuN`!IHS*HUXK{Ld<ApLE3e|TaTrJu(qMEj"
    "QF~X{2Ct)obi@kq*Bkk=ciMRC9BE{@)@v&*26mmA>dimNlslwwNXq?dskLHpz=|>^OcHp%VD2ePdD-d+pRhVwCrlUk^P;?UsacJI4mvR_vV7@~"
    "4xBC1?U_5u2fDFq9E4=LBuwN7-ngSxs8-HkLL~uWuUbgxtM&BGXb1x#TF<*GPK19$1drB`f|(jIp$e*uJUF3StlH0WeY6Z76^<0X&rpFrfE*bZ"
    "IylW+1YMLi+BYR6(>G<Pia&H@GCg`a&v#C)fWLg`m|)>(_s7nMz)~OpZ~%<}AFu$EfpUNXq+tJ4%qHM2Fa_8QtN?}qc3=%)1gZfIm`b1>$O3Kw"
    "Iv@$4frY?YKm@SeN(D-QnLsNr3#b6Y{+tuo0GI$hPzDSDe1U5~G_Vdh47}XC!AU%vXPTWY&X$&Dr<1)qoyXjF_G)$t5UI!+b3|bra`i^lAD}Up"
    "5d"
)  # fmt: skip


def test_a_file_of_version_1_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(zlib.decompress(base64.b85decode(GOLDEN)))
    assert_bits_equal(transfer.load_sparse(path), golden())


def golden() -> dict[str, Tensor]:
    """A tensor in each form, of numbers that any machine computes alike."""
    cubes = torch.arange(3000) ** 3 * 31 % 10007
    half = (cubes % 2).to(torch.int16).view(30, 100)
    rare = torch.where(cubes < 300, cubes / -64, 0.0)[:2000]
    return {"half": half, "rare": rare, "plenty": torch.where(cubes < 3000, 0.5, 0.0), "n": torch.tensor(9)}
