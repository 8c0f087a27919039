"""The plan for many devices: the output of the command, memory and time by number of devices, refused values."""

import pickle
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from gip_gpu import cli
from gip_gpu.cli.values import number, whole, whole_power
from gip_gpu.planning import cluster, cluster_schedule
from gip_gpu.planning.cluster import Local, estimate
from gip_gpu.planning.cluster_schedule import slowest, tailed
from gip_gpu.planning.cpu_costs import Layout
from gip_gpu.planning.gpu_costs import A100, GpuCosts
from gip_gpu.planning.hardware import DEVICE_KINDS, LINKS, network

EXAMPLE = "plan --rows 1e9 --dim 768 --k 1e6 --devices 64 --device-kind A100-80GB"
M, D, K = 10**9, 768, 10**6


@pytest.fixture
def run(capsys):
    """Runs a command line; returns its status, output and errors."""

    def call(line):
        status = cli.main(line.split())
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


def test_the_example_prints_what_is_asked(run):
    status, out, err = run(EXAMPLE)
    assert (status, err) == (0, "")
    told = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines()[1:-1])
    assert told["pool"] == "1,000,000,000 items of length 768 in fp16, 1 signal"
    assert told["devices"] == "64 x A100-80GB, 15,625,000 items each"
    assert told["network"].startswith("InfiniBand")
    assert told["memory per device: embeddings"] == "24 GB"
    assert {"memory per device: Gram columns", "load", "look ahead", "communication"} <= told.keys()
    assert told["memory per device in all"].endswith("(limit: 80 GB)")
    assert told["Gram columns"] == "lazy, tf32, 256 columns kept"
    assert re.fullmatch(r"\d+ columns at once, of which [\d.]+ are used \(\d+%\)", told["batch"])
    for part in ("column GEMM", "step (passes over W~)", "refresh"):
        assert re.search(r"^[\d.]+ (us|ms) .*, [\d.]+ (s|min) in all", told[part]), part
    assert told["network"].endswith("a star around rank 0")
    assert told["bottleneck"].startswith("communication, ")
    assert told["as built on GPUs"].endswith("in all: gip_gpu.distributed makes a column a pick there so far")
    assert "a model's figures" in told["source"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (EXAMPLE.replace("64", "8"), "1,000,000,000 x 768 embeddings in fp16 need at least 22 x A100-80GB"),
        (EXAMPLE.replace("A100-80GB", "B200"), "one of 'A100-80GB', 'A100-40GB', 'H100-80GB', 'H200-141GB', 'cpu'"),
        (EXAMPLE + " --network fast", "network is 'fast'; network must be one of 'nvlink'"),
        (EXAMPLE + " --network 5GB/s", "or text such as '50GB/s,5us'"),
        (EXAMPLE + " --network 0GB/s,5us", "network is '0GB/s,5us'"),
        (EXAMPLE + " --given int8", "given is 'int8'"),
        (EXAMPLE + " --device cpu", "--device and --backend describe this machine"),
        (EXAMPLE + " --objective lr", "--objective is lr"),
        (EXAMPLE + " --columns gram", "--columns is gram"),
        (EXAMPLE + " --precision bf32", "precision is 'bf32'"),
        (EXAMPLE + " --memory-limit 10kB", "not even one row"),
        (EXAMPLE.replace("64", "2e9"), "there are 1,000,000,000 items"),
        (EXAMPLE.replace("1e9", "1e1000000000"), "no count"),
        (EXAMPLE.replace("1e9", "1.5e0"), "no count"),
        ("plan --rows 1e5 --dim 8 -k 5 --device-kind cpu", "--device-kind goes with --devices"),
    ],
)  # fmt: skip
def test_what_is_refused(run, line, words):
    status, out, err = run(line)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_counts_as_people_write_them(run):
    assert (whole("1e9"), whole("2.5E3"), whole("12")) == (10**9, 2500, 12)
    assert whole_power("1e15") == 10**15
    assert number("1e3") == 1000
    assert isinstance(number("1e3"), int)
    assert number("1e-3") == 0.001
    assert isinstance(number("1.0"), float)
    here = run("plan --rows 1e5 --dim 64 --k 1e3 --device cpu --memory-limit 4GB")
    assert here[0] == 0
    assert "100,000 items of length 64" in here[1]
    assert (
        run("plan --rows 1e5 --dim 64 -k 1e-2 --devices 2")[1] == run("plan --rows 1e5 --dim 64 --k 1e3 --devices 2")[1]
    )


@pytest.mark.parametrize("kind", list(DEVICE_KINDS))
def test_more_devices_take_less_memory_and_work_each_until_messages_take_over(kind):
    plans = [estimate(M, D, 1, K, devices=devices, kind=kind) for devices in (48, 96, 192, 4096)]
    # The kept columns may use free memory; the rest must shrink.
    needs = [sum(plan.memory.values()) - plan.memory["Gram columns"] for plan in plans]
    assert needs == sorted(needs, reverse=True)
    assert needs[-1] < needs[0] / 3
    speedups = [before.total / after.total for before, after in pairwise(plans)]
    assert speedups == sorted(speedups, reverse=True)
    assert 2 > speedups[0] > 1 > speedups[-1] if kind == "cpu" else speedups[-1] < 1
    work = [plan.seconds["columns"] for plan in plans]
    assert work == sorted(work, reverse=True)
    # Each rank has a message both ways, so the star's share of the time grows with the ranks.
    messages = [plan.schedule.step_messages for plan in plans]
    assert messages[2] / messages[1] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("devices", [2, 64])
def test_a_column_a_pick_is_what_gpus_have(devices):
    plan = estimate(10**7, D, 1, 10**5, devices=devices)
    assert plan.as_built > plan.total
    assert plan.as_built > 10**5 * Local(10**7 // devices, D, 1, plan.kind).costs.columns_seconds(1, "tf32")
    for other in (estimate(10**7, D, 1, K, devices=devices, kind="cpu"), estimate(10**7, D, 1, K)):
        assert other.as_built is None
        assert "as built on GPUs" not in dict(other.table())


def test_a_tree_would_help_where_there_are_many():
    communicator = estimate(M, D, 1, K, devices=256).schedule
    assert not communicator.tree
    assert replace(communicator, tree=True).seconds(K) < communicator.seconds(K) / 2


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_one_device_takes_what_the_model_of_one_device_says(precision):
    plan = estimate(1_000_000, D, 4, 1000, precision=precision, given="fp32")
    costs = GpuCosts(1_000_000, D, 4, "fp32", graph=True, chip=A100)
    assert plan.memory == costs.lazy(plan.columns, Layout(), precision)
    assert plan.schedule.refresh == costs.refresh_seconds() + A100.visit
    assert plan.seconds["communication"] == plan.seconds["waiting for the slowest"] == 0


@pytest.mark.parametrize(("kind", "given"), [("A100-40GB", "fp16"), ("H200-141GB", "fp64"), ("cpu", "fp32")])
def test_the_number_of_devices_that_is_named_is_the_smallest(kind, given):
    with pytest.raises(ValueError, match="need at least") as caught:
        estimate(M, D, 4, K, devices=1, kind=kind, given=given)
    enough = int(re.search(r"at least ([\d,]+) x", str(caught.value))[1].replace(",", ""))
    plan = estimate(M, D, 4, K, devices=enough, kind=kind, given=given)
    assert sum(plan.memory.values()) <= plan.limit == DEVICE_KINDS[kind].capacity
    with pytest.raises(ValueError, match=f"at least {enough:,} x"):
        estimate(M, D, 4, K, devices=enough - 1, kind=kind, given=given)


def test_a_memory_limit_is_kept_to():
    plan = estimate(M, D, 1, K, devices=64, memory_limit="30GB")
    assert sum(plan.memory.values()) <= 30e9
    assert plan.columns < 256
    assert 1 < plan.schedule.batch <= plan.columns // 2
    # Entries of two bytes fit where entries of four do not.
    assert estimate(M, D, 1, K, devices=24, memory_limit="75GB").precision == "fp16"


def test_the_batch_is_the_best_of_all():
    best = estimate(M, D, 1, K, devices=64).schedule
    local = Local(M // 64, D, 1, DEVICE_KINDS["A100-80GB"])
    others = [local.schedule(64, best.link, batch, "tf32", 1 / 30) for batch in (1, 8, 16, 96, 128)]
    assert all(best.seconds(K) < other.seconds(K) for other in others)
    assert estimate(M, D, 1, K, devices=64, unforeseen=0.5).schedule.batch < best.batch


def test_a_slower_network_costs_time():
    kind = DEVICE_KINDS["A100-80GB"]
    totals = [estimate(M, D, 1, K, devices=64, network_link=name).total for name in LINKS]
    assert totals == sorted(totals)
    assert totals[-1] > totals[0]
    given = network("25GB/s,10us", 64, kind)
    assert (given.bandwidth, given.latency) == (25e9, pytest.approx(10e-6))
    assert network(None, 2, DEVICE_KINDS["cpu"]) == LINKS["infiniband"]


def test_expected_maximum_of_ranks():
    rng = np.random.default_rng(0)
    spread = tuple(rng.gamma(2, size=500))
    for ranks in (1, 4, 64):
        drawn = rng.choice(spread, (20_000, ranks)).max(axis=1).mean()
        assert slowest(spread, ranks) == pytest.approx(drawn, rel=0.02)
    # The maximum of R exponential times is the R-th harmonic number of their mean.
    assert slowest(tailed(0.2), 16) == pytest.approx(0.8 + 0.2 * sum(1 / i for i in range(1, 17)), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["any", "positive"])
def test_exchanges_are_those_that_are_built(monkeypatch, real, sign):
    """Counts the messages of each pick and each batch, and their lengths, in a real selection of one rank."""
    torch = pytest.importorskip("torch.distributed")
    from gip_gpu import distributed
    from gip_gpu.distributed import exchange, foresight

    assert (cluster_schedule.FIRST, cluster_schedule.NOMINEES) == (exchange.FIRST, foresight.NOMINEES)
    assert cluster.KEPT == foresight.KEPT + 2
    F = real("gsm8k_minilm_f16.npy").astype(np.float64)
    m, d = F.shape
    local = Local(m, d, 1, DEVICE_KINDS["cpu"])
    assert local.nominees(1) == foresight.working_set(m, d, 1)
    messages = {}

    def noting(call):
        def noted(communicator, name, *arguments):
            answer = call(communicator, name, *arguments)
            down = len(pickle.dumps((name, arguments, True)))
            messages.setdefault(name, []).append((down, len(pickle.dumps(answer))))
            return answer

        return noted

    def each(communicator, calls):
        return [
            noting(lambda communicator, name, *rest: communicator._call(name, rest))(
                communicator, calls[0][0], *calls[0][1]
            )
        ]

    monkeypatch.setattr(exchange.Communicator, "ask_each", each)
    monkeypatch.setattr(exchange.Communicator, "tell", noting(exchange.Communicator.tell))
    torch.init_process_group("gloo", store=torch.HashStore(), rank=0, world_size=1)
    try:
        k = 200
        distributed.select(F, F @ F.mean(axis=0), k, device="cpu", sign=sign)
    finally:
        torch.destroy_process_group()
    by_items = sign == "positive"
    plan = replace(local.schedule(2, LINKS["ethernet"], 1 if by_items else 16, "fp32", 1 / 30), by_items=by_items)
    picks = len(messages["update"])
    assert picks == k
    down = [size for size, _ in messages["update"]]
    assert max(down) <= plan.stepping.down[-1] < max(down) + cluster_schedule.ENVELOPE
    assert max(up for _, up in messages["update"]) <= plan.stepping.up <= cluster_schedule.FIRST
    assert len(plan.before) == len(plan.after) == 2 or by_items
    if by_items:
        # Candidates, the pick's row; the pick is sent and its update requested, and the rank answers.
        assert len(messages["rows"]) == picks <= len(messages["candidates"])
        assert max(down for down, _ in messages["project"]) <= plan.stepping.down[0]
        assert (len(messages["project"]), len(plan.before), plan.after) == (picks, 2, ())
    else:
        batches, singles = len(messages["nominate"]), len(messages["columns"]) - len(messages["nominate"])
        assert batches > 0
        # The pick's row, nominees, the other rows if any are foreseen, columns.
        assert batches + singles < len(messages["rows"]) <= 2 * batches + singles
        nominated = np.mean([up for _, up in messages["nominate"]])
        assert 0.5 < nominated / (plan.ranks * plan.before[-1].up) < 2
        assert max(up for _, up in messages["columns"]) < cluster_schedule.ENVELOPE
        largest = max(down for down, _ in messages["columns"])
        count = round(largest / (8 * d))
        assert largest <= replace(plan, batch=count).after[-1].down[0] < largest + cluster_schedule.ENVELOPE + 8 * count


def test_bytes_of_messages():
    plan = estimate(M, D, 4, K, devices=64)
    more = estimate(M, D, 4, K, devices=128)
    assert plan.schedule.stepping.down == more.schedule.stepping.down
    assert plan.schedule.stepping.down[0] < cluster_schedule.FIRST < plan.schedule.after[-1].down[0]
    assert plan.memory.keys() == estimate(10**7, D, 4, K).memory.keys()
    assert "lookahead" in estimate(M, D, 4, K, devices=64, kind="cpu").memory
    assert estimate(10**7, D, 4, K).schedule.step_messages == 0
