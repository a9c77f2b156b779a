"""Devices that a run can be planned for: published figures, and their sources.

Peaks are of dense arithmetic, without sparsity, in the precision that JAX's
float32 products run in by default: TF32 on GPUs of NVIDIA from A100 on,
bfloat16 on TPUs. Rates of links are of one direction. What a program reaches
of a peak is an assumption and says so.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hardware:
  """A device, and how it is tied to others."""

  platform: str
  """As JAX names it: gpu, tpu or cpu."""
  flops: float
  """Products and sums a second, at the peak."""
  memory_bytes: float
  memory_bytes_per_s: float
  island: int
  """Devices that the fast link joins."""
  link_bytes_per_s: float
  """Of a device to others of its island, one direction."""
  network_bytes_per_s: float
  """Of a device to other islands, one direction; 0: there are none."""
  host_bytes_per_s: float
  """From the host's memory to a device."""
  latency_s: float
  """Of one collective; an assumption but for cpu2."""
  attained: float
  """Share of the peaks that our small products and gathers reach; an
  assumption, 1 where the figures were measured."""


_ATTAINED = 0.5
_LATENCY_S = 20e-6

HARDWARE = {
  # https://resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet
  # SXM: TF32 989 TFLOPS with sparsity, half of it without; 80 GB, 3.35 TB/s;
  # NVLink 900 GB/s, PCIe gen 5 128 GB/s, both directions together.
  # https://docs.nvidia.com/dgx/dgxh100-user-guide/introduction-to-dgxh100.html
  # 8 GPUs, 8 adapters of 400 Gb/s.
  "h100": Hardware(
    platform="gpu",
    flops=494.5e12,
    memory_bytes=80e9,
    memory_bytes_per_s=3.35e12,
    island=8,
    link_bytes_per_s=450e9,
    network_bytes_per_s=50e9,
    host_bytes_per_s=64e9,
    latency_s=_LATENCY_S,
    attained=_ATTAINED,
  ),
  # https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf
  # SXM, 80 GB: TF32 156 TFLOPS, 2039 GB/s; NVLink 600 GB/s, PCIe gen 4 64 GB/s,
  # both directions together.
  # https://docs.nvidia.com/dgx/dgxa100-user-guide/introduction-to-dgxa100.html
  # 8 GPUs, 8 adapters of 200 Gb/s.
  "a100": Hardware(
    platform="gpu",
    flops=156e12,
    memory_bytes=80e9,
    memory_bytes_per_s=2.039e12,
    island=8,
    link_bytes_per_s=300e9,
    network_bytes_per_s=25e9,
    host_bytes_per_s=32e9,
    latency_s=_LATENCY_S,
    attained=_ATTAINED,
  ),
  # https://www.microway.com/hpc-tech-tips/nvidia-tesla-p100-pci-e-16gb-gpu-accelerator-pascal-gp100-close/
  # PCIe: 9.3 TFLOPS of float32, 16 GB, 732 GB/s, 12.8 GB/s to the host, which
  # is the way to other devices too. A network of 25 Gb/s is an assumption.
  "p100": Hardware(
    platform="gpu",
    flops=9.3e12,
    memory_bytes=16e9,
    memory_bytes_per_s=732e9,
    island=1,
    link_bytes_per_s=12.8e9,
    network_bytes_per_s=3.125e9,
    host_bytes_per_s=12.8e9,
    latency_s=_LATENCY_S,
    attained=_ATTAINED,
  ),
  # https://docs.cloud.google.com/tpu/docs/v5e
  # bfloat16 197 TFLOPs, 16 GB, 819 GB/s; interconnect 400 GB/s, both directions
  # together; 256 chips a pod. 8 chips a host; PCIe gen 3 is an assumption.
  "tpu_v5e": Hardware(
    platform="tpu",
    flops=197e12,
    memory_bytes=16e9,
    memory_bytes_per_s=819e9,
    island=256,
    link_bytes_per_s=200e9,
    network_bytes_per_s=0.0,
    host_bytes_per_s=16e9,
    latency_s=_LATENCY_S,
    attained=_ATTAINED,
  ),
  # Measured: a virtual machine with 2 cores of an Intel Xeon. x @ x of 2048 x
  # 2048 float32 and x + 1 of 256 MB in JAX; "links" copy in the same memory.
  "cpu2": Hardware(
    platform="cpu",
    flops=280e9,
    memory_bytes=24e9,
    memory_bytes_per_s=8e9,
    island=256,
    link_bytes_per_s=4e9,
    network_bytes_per_s=0.0,
    host_bytes_per_s=4e9,
    latency_s=100e-6,
    attained=1.0,
  ),
}
