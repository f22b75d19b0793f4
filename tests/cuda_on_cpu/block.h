// The threads of CUDA's blocks on one CPU thread, so that the sources of the CUDA kernels run without a GPU.
//
// Each thread of a block is a fiber, which runs until it meets a barrier or ends. Blocks run one after another.
// What CUDA forbids, or leaves undefined, shows where it can:
// * A launch beyond the limits of a GPU is a DeviceError.
// * So is a barrier that not all threads reach (a GPU hangs, or goes on with garbage), or reach in different lines.
// * Shared memory that nobody has written holds 0xff bytes: NaNs, and integers that fit nowhere.
// * A missing barrier gives wrong results in one order or the other: between two barriers of a block, one of two
//   warps runs entirely before the other, and with Order::kReversed after it; so do, between two barriers of a
//   warp, its threads. Only, an exchange orders memory here, as a __syncwarp does, which a GPU does not promise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <driver_types.h>
#include <functional>
#include <source_location>
#include <type_traits>
#include <vector_types.h>

// Device code's names for the thread that runs.
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace trine::on_cpu {

using Place = std::source_location;

// The order in which the threads of a warp, the warps of a block and the blocks of a grid have their turns.
enum class Order { kForward, kReversed };
// Of all launches from now on: a launch in CUDA's syntax has no place for it.
void set_order(Order order);

// Lets a kernel have more dynamic shared memory than what needs no asking. False if no block may have so much.
bool allow_shared(const void* kernel, int64_t bytes);

// Calls thread() as each thread of each block, and returns when all have ended. One launch at a time: others wait.
void run_grid(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread);

// Whether a stream is capturing: then `work` is a part of its graph and not to be done now.
bool captured(cudaStream_t stream, std::function<void()> work);

// --- what a kernel's threads call
// ----------------------------------------------------------------------------------

// Waits for all threads of the block that have not ended: whether any of them brings true.
bool wait_for_block(bool value, Place place);
// Waits for all threads of the warp that have not ended: the bits that the thread of lane `from` brings, or ones if
// it has ended. REQUIRES: `mask` names all lanes.
uint64_t exchange_in_warp(unsigned mask, uint64_t bits, int from, Place place);
int lane_of_thread();
std::byte* dynamic_shared_memory();
// Each thread calls it where a __shared__ variable is declared.
void enter_shared_variable(void* data, size_t bytes);
[[noreturn]] void trap(Place place);

// --- what rewrite.py makes of CUDA's syntax
// ------------------------------------------------------------------------

// kernel<<<grid, block, shared_bytes, stream>>>(arguments...). The arguments become parameters on the host, once.
template <typename... Parameters>
auto launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream) {
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "parameters reach a GPU as bytes");
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "a kernel has at most 4 KiB of parameters");
  struct Launch {
    void (*kernel)(Parameters...);
    dim3 grid, block;
    size_t shared_bytes;
    cudaStream_t stream;
    void operator()(Parameters... parameters) const {
      if (captured(stream, [launch = *this, parameters...] { launch.run(parameters...); })) return;
      run(parameters...);
    }
    void run(Parameters... parameters) const {
      run_grid(reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, [&] { kernel(parameters...); });
    }
  };
  return Launch{kernel, grid, block, shared_bytes, stream};
}

// Follows the declaration of __shared__ variables, which has become one of static variables.
template <typename... T>
void share(T&... variables) {
  static_assert((std::is_trivially_copyable_v<T> && ...), "shared memory has no constructors");
  (enter_shared_variable(&variables, sizeof variables), ...);
}

// --- values of any type
// --------------------------------------------------------------------------------------------

template <typename T>
T exchange(unsigned mask, T value, int from, Place place) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange_in_warp(mask, bits, from, place);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace trine::on_cpu
