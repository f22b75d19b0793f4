// Copies between the host's pinned memory and the device's: each way, both at once, and how long a small one takes.
#include "bench/gpu_probe/probe.h"

namespace trine::probe {
namespace {
constexpr int64_t kBytes = int64_t{256} << 20;

std::string speed(double bytes, double seconds) { return fmt::format("{:.1f} GB/s", bytes / seconds * 1e-9); }
}  // namespace

void probe_copies(Report& report, const cuda::ContextPtr& context) {
  if (!context) {
    report.row("copies", [] { return "need no library"; });
    return;
  }
  const cuda::PinnedBuffer host_in(kBytes), host_out(kBytes);
  const cuda::DeviceBuffer device_in(kBytes), device_out(kBytes);
  const cuda::Stream up, down;
  const auto size = [](int64_t bytes) { return static_cast<size_t>(bytes); };
  const auto to_device = [&](int64_t bytes, cudaStream_t stream) {
    TRINE_CUDA(cudaMemcpyAsync(device_in.data(), host_in.data(), size(bytes), cudaMemcpyHostToDevice, stream));
  };
  const auto to_host = [&](int64_t bytes, cudaStream_t stream) {
    TRINE_CUDA(cudaMemcpyAsync(host_out.data(), device_out.data(), size(bytes), cudaMemcpyDeviceToHost, stream));
  };
  constexpr auto kSize = static_cast<double>(kBytes);
  report.row("copy host -> device, 256 MiB",
             [&] { return speed(kSize, seconds_of(up.get(), [&] { to_device(kBytes, up.get()); })); });
  report.row("copy device -> host, 256 MiB",
             [&] { return speed(kSize, seconds_of(up.get(), [&] { to_host(kBytes, up.get()); })); });
  report.row("both at once, 256 MiB each", [&] {
    const cuda::Event begun, done;
    return speed(2 * kSize, seconds_of(up.get(), [&] {
                   begun.record(up.get());
                   begun.block(down.get());
                   to_device(kBytes, up.get());
                   to_host(kBytes, down.get());
                   done.record(down.get());
                   done.block(up.get());
                 }));
  });
  report.row("copy within the device, 256 MiB read and written", [&] {
    return speed(2 * kSize, seconds_of(up.get(), [&] {
                   TRINE_CUDA(cudaMemcpyAsync(device_out.data(), device_in.data(), size(kBytes),
                                              cudaMemcpyDeviceToDevice, up.get()));
                 }));
  });
  report.row("copy of 4 bytes", [&] {
    return fmt::format("{:.1f} us to the device, {:.1f} us to the host",
                       1e6 * seconds_of(up.get(), [&] { to_device(4, up.get()); }),
                       1e6 * seconds_of(up.get(), [&] { to_host(4, up.get()); }));
  });
}

}  // namespace trine::probe
