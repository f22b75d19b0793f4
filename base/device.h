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

}  // namespace trine
