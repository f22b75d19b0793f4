#include "tests/cuda_on_cpu/block.h"

#include <algorithm>
#include <array>
#include <exception>
#include <fmt/core.h>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/context.h"
#include "tests/cuda_on_cpu/fiber.h"

namespace trine::on_cpu {
namespace {

constexpr int kMaxThreads = 1024, kWarp = 32;
// An Ada GPU's; a block on Hopper may have 227 KiB.
constexpr int64_t kMaxShared = 99 << 10, kSharedWithoutAsking = 48 << 10;
constexpr int64_t kGuard = 256;  // bytes behind dynamic shared memory
constexpr std::byte kUnwritten{0xff};

template <typename... T>
cuda::DeviceError error(fmt::format_string<T...> text, T&&... values) {
  return cuda::DeviceError("[cuda on cpu] " + fmt::format(text, std::forward<T>(values)...));
}

std::string text_of(const Place& place) {
  const std::string_view file = place.file_name();
  return fmt::format("{}:{}", file.substr(file.rfind('/') + 1), place.line());
}
bool same(const Place& a, const Place& b) {
  return a.line() == b.line() && std::string_view(a.file_name()) == b.file_name();
}

// Neighbouring threads that wait for each other: a block, a warp.
struct Gathering {
  int first = 0, end = 0;
  int running = 0;  // have not ended
  int arrived = 0;
  Place place{};  // where the first of them arrived
};

struct Warp : Gathering {
  // What threads bring, and what they brought last time: that is read until they all have come again.
  std::array<std::array<uint64_t, kWarp>, 2> bits{};
  int turn = 0;
};

struct Thread {
  std::unique_ptr<Fiber> fiber;
  int number = 0;
  uint3 index{};
  bool ended = false;
  Gathering* waits_for = nullptr;
};

// The block that runs. Its fibers are kept for the next one.
class Block {
 public:
  void run(Order order, int num_threads, int64_t dynamic_bytes, int64_t static_limit);

  bool wait_for_block(bool value, const Place& place);
  uint64_t exchange(uint64_t bits, int from, const Place& place);
  int lane() const { return current_->number % kWarp; }
  std::byte* dynamic_shared() { return dynamic_.data(); }
  void enter_shared_variable(void* data, size_t bytes);

  const std::function<void()>* kernel = nullptr;  // as its current thread

 private:
  void start(int num_threads);
  bool run_warp(Order order, const Warp& warp);
  void resume(Thread& thread);
  void run_thread();
  void arrive(Gathering& gathering, const Place& place);
  void release(Gathering& gathering);
  std::string describe_waiting() const;
  Warp& warp() { return warps_[static_cast<size_t>(current_->number / kWarp)]; }

  std::vector<Thread> threads_;
  Thread* current_ = nullptr;
  std::exception_ptr error_;
  Gathering all_;
  bool released_ = false;                  // the block has met, since the first warp's turn
  bool any_ = false, any_before_ = false;  // brought now, and brought last time
  std::array<Warp, kMaxThreads / kWarp> warps_;
  std::vector<std::byte> dynamic_;
  std::vector<const void*> variables_;
  int64_t static_bytes_ = 0, static_limit_ = 0;
};

void Block::run(Order order, int num_threads, int64_t dynamic_bytes, int64_t static_limit) {
  dynamic_.assign(static_cast<size_t>(dynamic_bytes + kGuard), kUnwritten);
  variables_.clear();
  static_bytes_ = 0;
  static_limit_ = static_limit;
  start(num_threads);
  const int warps = (num_threads + kWarp - 1) / kWarp;
  while (all_.running > 0 && !error_) {
    bool moved = false;
    released_ = false;
    for (int i = 0; i < warps && !released_ && !error_; ++i)
      moved |= run_warp(order, warps_[static_cast<size_t>(order == Order::kForward ? i : warps - 1 - i)]);
    if (!moved) error_ = std::make_exception_ptr(error("not all threads reach a barrier{}", describe_waiting()));
  }
  if (error_) {
    threads_.clear();  // their fibers stand in the middle of a kernel
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
  if (std::any_of(dynamic_.end() - kGuard, dynamic_.end(), [](std::byte b) { return b != kUnwritten; }))
    throw error("a kernel wrote behind its {} bytes of dynamic shared memory", dynamic_bytes);
}

// Goes on until all threads of the warp wait for the block or have ended, or the block has met at a barrier, after
// which the first warp has its turn again. Whether any thread moved.
bool Block::run_warp(Order order, const Warp& warp) {
  bool has_moved = false;
  for (bool moved = true; moved && !released_;) {
    moved = false;
    for (int i = 0; i < warp.end - warp.first && !error_; ++i) {
      Thread& thread = threads_[static_cast<size_t>(order == Order::kForward ? warp.first + i : warp.end - 1 - i)];
      if (thread.ended || thread.waits_for != nullptr) continue;
      moved = has_moved = true;
      resume(thread);
      if (released_) break;
    }
  }
  return has_moved;
}

void Block::start(int num_threads) {
  if (std::ssize(threads_) < num_threads) threads_.resize(static_cast<size_t>(num_threads));
  any_ = any_before_ = false;
  all_ = {0, num_threads, num_threads};
  for (int first = 0; first < num_threads; first += kWarp) {
    const int end = std::min(first + kWarp, num_threads);
    Warp& warp = warps_[static_cast<size_t>(first / kWarp)];
    warp = {{first, end, end - first}};
    warp.bits[0].fill(~uint64_t{0});
  }
  for (int i = 0; i < num_threads; ++i) {
    Thread& thread = threads_[static_cast<size_t>(i)];
    if (!thread.fiber) thread.fiber = std::make_unique<Fiber>([this] { run_thread(); });
    const auto n = static_cast<unsigned>(i);
    thread.number = i;
    thread.index = {n % blockDim.x, n / blockDim.x % blockDim.y, n / blockDim.x / blockDim.y};
    thread.ended = false;
    thread.waits_for = nullptr;
  }
}

void Block::resume(Thread& thread) {
  current_ = &thread;
  threadIdx = thread.index;
  thread.fiber->resume();
}

// Those who wait go on without a thread that has ended.
void Block::run_thread() {
  try {
    (*kernel)();
  } catch (...) {
    error_ = std::current_exception();
  }
  current_->ended = true;
  for (Gathering* gathering : {&all_, static_cast<Gathering*>(&warp())})
    if (--gathering->running > 0 && gathering->arrived == gathering->running) release(*gathering);
}

// Who arrives last waits for its turn all the same: so the order of turns holds between any two barriers.
void Block::arrive(Gathering& gathering, const Place& place) {
  if (gathering.arrived == 0) gathering.place = place;
  if (!same(place, gathering.place))
    throw error("thread {} waits in {}, others in {}", current_->number, text_of(place), text_of(gathering.place));
  current_->waits_for = &gathering;
  if (++gathering.arrived == gathering.running) release(gathering);
  current_->fiber->pause();
}

void Block::release(Gathering& gathering) {
  gathering.arrived = 0;
  for (int i = gathering.first; i < gathering.end; ++i)
    if (Thread& thread = threads_[static_cast<size_t>(i)]; thread.waits_for == &gathering)
      thread.waits_for = nullptr;
  if (&gathering == &all_) {
    released_ = true;
    any_before_ = std::exchange(any_, false);
  } else {
    Warp& warp = static_cast<Warp&>(gathering);
    warp.turn ^= 1;
    warp.bits[static_cast<size_t>(warp.turn)].fill(~uint64_t{0});
  }
}

bool Block::wait_for_block(bool value, const Place& place) {
  any_ |= value;
  arrive(all_, place);
  return any_before_;
}

uint64_t Block::exchange(uint64_t bits, int from, const Place& place) {
  Warp& own = warp();
  own.bits[static_cast<size_t>(own.turn)][static_cast<size_t>(lane())] = bits;
  arrive(own, place);
  return own.bits[static_cast<size_t>(own.turn ^ 1)].at(static_cast<size_t>(from));
}

// Before the first thread of the block, it is filled.
void Block::enter_shared_variable(void* data, size_t bytes) {
  if (std::find(variables_.begin(), variables_.end(), data) != variables_.end()) return;
  variables_.push_back(data);
  std::memset(data, static_cast<int>(kUnwritten), bytes);
  static_bytes_ += static_cast<int64_t>(bytes);
  if (static_bytes_ > static_limit_)
    throw error("{} bytes of static shared memory, {} allowed beside the dynamic", static_bytes_, static_limit_);
}

std::string Block::describe_waiting() const {
  std::map<std::string, int> places;
  for (const Thread& thread : threads_)
    if (thread.waits_for != nullptr) ++places[text_of(thread.waits_for->place)];
  std::string text = fmt::format(". {} of {} have ended", all_.end - all_.running, all_.end);
  for (const auto& [place, count] : places) text += fmt::format(", {} wait in {}", count, place);
  return text;
}

struct Device {
  std::mutex mutex;
  Order order = Order::kForward;
  std::map<const void*, int64_t> allowed_shared;
  Block block;
};
Device device;

}  // namespace

void set_order(Order order) { device.order = order; }

bool allow_shared(const void* kernel, int64_t bytes) {
  const std::lock_guard lock(device.mutex);
  if (bytes > kMaxShared) return false;
  device.allowed_shared[kernel] = bytes;
  return true;
}

void run_grid(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread) {
  const std::lock_guard lock(device.mutex);
  const int64_t threads = int64_t{block.x} * block.y * block.z, blocks = int64_t{grid.x} * grid.y * grid.z;
  if (threads < 1 || threads > kMaxThreads || block.z > 64)
    throw error("a block of {} x {} x {} threads, at most {} (64 in z)", block.x, block.y, block.z, kMaxThreads);
  if (blocks < 1 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    throw error("a grid of {} x {} x {} blocks, at least one and at most 2^31 - 1, 65535, 65535", grid.x, grid.y,
                grid.z);
  const auto asked = device.allowed_shared.find(kernel);
  const bool has_asked = asked != device.allowed_shared.end();
  const auto dynamic = static_cast<int64_t>(shared_bytes);
  if (const int64_t allowed = has_asked ? asked->second : kSharedWithoutAsking; dynamic > allowed)
    throw error("{} bytes of dynamic shared memory, {} allowed", dynamic, allowed);
  gridDim = grid;
  blockDim = block;
  device.block.kernel = &thread;
  for (int64_t turn = 0; turn < blocks; ++turn) {
    const int64_t i = device.order == Order::kForward ? turn : blocks - 1 - turn;
    blockIdx = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                static_cast<unsigned>(i / grid.x / grid.y)};
    device.block.run(device.order, static_cast<int>(threads), dynamic,
                     std::min(kSharedWithoutAsking, (has_asked ? kMaxShared : kSharedWithoutAsking) - dynamic));
  }
}

bool wait_for_block(bool value, Place place) { return device.block.wait_for_block(value, place); }

uint64_t exchange_in_warp(unsigned mask, uint64_t bits, int from, Place place) {
  if (mask != 0xffffffffu) throw error("{}: only exchanges of whole warps are known here", text_of(place));
  return device.block.exchange(bits, from, place);
}

int lane_of_thread() { return device.block.lane(); }
std::byte* dynamic_shared_memory() { return device.block.dynamic_shared(); }
void enter_shared_variable(void* data, size_t bytes) { device.block.enter_shared_variable(data, bytes); }
void trap(Place place) { throw error("__trap in {}", text_of(place)); }

}  // namespace trine::on_cpu
