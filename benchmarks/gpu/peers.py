"""One training step on the GPU as PyTorch's and JAX's users write it; the contenders of ``contenders``, moved to the device."""

from __future__ import annotations

from benchmarks.cpu.contenders import JaxJit, TorchFused
from benchmarks.cpu.workloads import CHECK_STEPS, Workload

SCAN = 100  # steps in one call


class DeviceTorch(TorchFused):
    """PyTorch on the GPU, eager with the fused Adam; ``mode`` compiles forward and backward."""

    mode: str | None = None
    precision = "highest"

    def __init__(self, workload: Workload) -> None:
        import torch

        torch.set_default_device("cuda")
        torch.set_float32_matmul_precision(self.precision)
        super().__init__(workload)
        self.workload = workload
        if self.mode:
            self.loss = torch.compile(self._loss, mode=self.mode)
        self.x = self.prepare(workload.batches(1)[0]).cuda()

    def check(self) -> list[float]:
        pairs = zip(self.workload.batches(CHECK_STEPS), self.workload.noise(CHECK_STEPS))
        return [float(self._given(self.prepare(x).cuda(), self.torch.from_numpy(noise).cuda())) for x, noise in pairs]

    def _given(self, x, noise):
        self.optimizer.zero_grad()
        loss = self.loss(x, noise)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def run(self, n: int) -> int:
        for _ in range(n):
            self._given(self.x, self.torch.randn(len(self.x), self.latent))
        return n

    def mark(self):
        event = self.torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, begin, end) -> float:
        return begin.elapsed_time(end) / 1e3

    def wait(self) -> None:
        self.torch.cuda.synchronize()

    def close(self) -> None:
        pass


class TorchDefault(DeviceTorch):
    mode = "default"


class TorchReduceOverhead(DeviceTorch):
    mode = "reduce-overhead"


class TorchMaxAutotune(DeviceTorch):
    mode = "max-autotune"


class TorchGraph(DeviceTorch):
    """The whole step, compiled, noise and Adam included, captured once as a CUDA graph."""

    mode = "default"
    graph = None

    def run(self, n: int) -> int:
        if self.graph is None:
            for group in self.optimizer.param_groups:
                group["capturable"] = True
            with self.torch.cuda.stream(self.torch.cuda.Stream()):
                super().run(3)
            self.wait()
            self.graph = self.torch.cuda.CUDAGraph()
            with self.torch.cuda.graph(self.graph):
                super().run(1)
        for _ in range(n):
            self.graph.replay()
        return n


class TorchGraphTF32(TorchGraph):
    precision = "high"


class DeviceJax(JaxJit):
    """JAX on the GPU, one jitted function a step."""

    precision = "float32"

    def __init__(self, workload: Workload) -> None:
        import jax

        if jax.default_backend() != "gpu":
            raise SystemExit(f"JAX finds no GPU: its backend is {jax.default_backend()}")
        jax.config.update("jax_default_matmul_precision", self.precision)
        super().__init__(workload)
        self.workload, self.x = workload, self.prepare(workload.batches(1)[0])

    def check(self) -> list[float]:
        pairs = zip(self.workload.batches(CHECK_STEPS), self.workload.noise(CHECK_STEPS))
        return [float(self.step(self.prepare(x), noise)) for x, noise in pairs]

    def run(self, n: int) -> int:
        for _ in range(n):
            self.step(self.x)
        return n

    def mark(self):
        return None  # JAX does not show its stream

    def between(self, begin, end) -> float:
        return float("nan")

    def wait(self) -> None:
        self.jax.block_until_ready(self.state)

    def close(self) -> None:
        pass


class JaxScan(DeviceJax):
    """JAX, a hundred steps in one call."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)

        def hundred(state, key, x):
            def step(carry, _):
                state, key, loss = self.fresh(*carry, x)
                return (state, key), loss

            return self.jax.lax.scan(step, (state, key), None, length=SCAN)[0]

        self.hundred = self.jax.jit(hundred, donate_argnums=(0, 1))

    def run(self, n: int) -> int:
        calls = max(1, n // SCAN)
        for _ in range(calls):
            self.state, self.key = self.hundred(self.state, self.key, self.x)
        return calls * SCAN


class JaxScanTF32(JaxScan):
    precision = "tensorfloat32"


PEERS = {
    "torch eager, fused Adam": ("torch", DeviceTorch),
    "torch.compile": ("torch", TorchDefault),
    "torch.compile, reduce-overhead": ("torch", TorchReduceOverhead),
    "torch.compile, max-autotune": ("torch", TorchMaxAutotune),
    "torch, whole step captured": ("torch", TorchGraph),
    "torch, whole step captured, TF32": ("torch", TorchGraphTF32),
    "JAX jit": ("jax", DeviceJax),
    "JAX scan": ("jax", JaxScan),
    "JAX scan, TF32": ("jax", JaxScanTF32),
}
