// What a plan is made for: it decides only how much scratch memory kernels may need.
#pragma once

namespace trine {

enum class DeviceKind { kCpu, kCuda };

struct Target {
  DeviceKind device = DeviceKind::kCpu;
  int threads = 1;  // of a CPU

  Target(int cpu_threads = 1) : threads(cpu_threads) {}
  Target(DeviceKind kind, int cpu_threads) : device(kind), threads(cpu_threads) {}
};

// Which attention a GPU runs: cuDNN's fused one, or the plain kernels. kAuto: cuDNN's where it can, with a warning
// where it cannot.
enum class AttentionKind { kAuto, kCudnn, kPlain };

// Whether a GPU's kernels are recorded and replayed as graphs. kAuto: where it is known to be safe and may pay.
enum class GraphKind { kAuto, kOn, kOff };

// What a user may wish of a GPU's kernels.
struct KernelOptions {
  AttentionKind attention = AttentionKind::kAuto;
  bool deterministic = false;  // the same bits in every run, where a library has a faster way without that promise
  GraphKind graphs = GraphKind::kAuto;
  bool operator==(const KernelOptions&) const = default;
};

}  // namespace trine
