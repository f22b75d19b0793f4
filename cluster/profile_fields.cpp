#include <array>

#include "cluster/profile.h"

namespace trine {
namespace {

#define TRINE_FIELD(path, unit, min, max, member)                        \
  ProfileField {                                                         \
    path, unit, min, max, [](Profile& p) -> double& { return p.member; } \
  }

#define TRINE_OPTIONAL(path, unit, min, max, member)                           \
  ProfileField {                                                               \
    path, unit, min, max, [](Profile& p) -> double& { return p.member; }, true \
  }

constexpr double kMost = 1e7;

constexpr auto kFields = std::to_array<ProfileField>({
    TRINE_FIELD("device.peak_tflops.bf16", "TFLOP/s", 1e-3, 1e5, device.bf16_tflops),
    TRINE_FIELD("device.peak_tflops.fp16", "TFLOP/s", 1e-3, 1e5, device.fp16_tflops),
    TRINE_FIELD("device.peak_tflops.f32", "TFLOP/s", 1e-3, 1e5, device.f32_tflops),
    TRINE_FIELD("device.f16_accumulate_tflops", "TFLOP/s", 0, 1e5, device.f16_accumulate_tflops),
    TRINE_FIELD("device.memory_gib", "GiB", 0.1, 1e5, device.memory_gib),
    TRINE_FIELD("device.reserved_gib", "GiB", 0, 1e5, device.reserved_gib),
    TRINE_FIELD("device.memory_gb_per_s", "GB/s", 0.1, 1e5, device.memory_gb_per_s),
    TRINE_FIELD("device.multiprocessors", "", 1, 1e5, device.multiprocessors),
    TRINE_FIELD("device.launch_us", "us", 0, 1e4, device.launch_us),
    TRINE_FIELD("device.host_us", "us", 0, 1e4, device.host_us),
    TRINE_FIELD("device.efficiency.product", "of the peak", 1e-3, 1, device.product_share),
    TRINE_FIELD("device.efficiency.attention", "of the peak", 1e-3, 1, device.attention_share),
    TRINE_FIELD("device.efficiency.attention_grad", "of the peak", 1e-3, 1, device.attention_grad_share),
    TRINE_FIELD("device.efficiency.memory", "of the bandwidth", 1e-3, 1, device.memory_share),
    TRINE_OPTIONAL("device.unfused_attention", "0, 1 or 2", 0, 2, device.unfused_attention),
    TRINE_OPTIONAL("device.unfused_passes", "0 or 1", 0, 1, device.unfused_passes),
    TRINE_OPTIONAL("device.serial_collectives", "0, 1 or 2", 0, 2, device.serial_collectives),
    TRINE_OPTIONAL("device.host_waits", "0, 1 or 2", 0, 2, device.host_waits),
    TRINE_OPTIONAL("device.accumulate_bytes", "bytes", 0, 100, device.accumulate_bytes),
    TRINE_OPTIONAL("device.optimizer_bytes", "bytes", 0, 100, device.optimizer_bytes),
    TRINE_OPTIONAL("device.scattered_messages", "0 or 1", 0, 1, device.scattered_messages),
    TRINE_FIELD("device.link_gb_per_s", "GB/s", 1e-3, 1e4, device.link_gb_per_s),
    TRINE_FIELD("device.power_w", "W", 0, 1e5, device.power_w),
    TRINE_FIELD("host.devices", "", 1, 1024, host.devices),
    TRINE_FIELD("host.devices_per_socket", "", 1, 1024, host.devices_per_socket),
    TRINE_FIELD("host.devices_per_switch", "", 0, 1024, host.devices_per_switch),
    TRINE_FIELD("host.switch_gb_per_s", "GB/s", 0, 1e5, host.switch_gb_per_s),
    TRINE_FIELD("host.peer_access", "0 or 1", 0, 1, host.peer_access),
    TRINE_FIELD("host.memory_gb_per_s", "GB/s", 1e-3, 1e6, host.memory_gb_per_s),
    TRINE_FIELD("host.socket_gb_per_s", "GB/s", 0, 1e6, host.socket_gb_per_s),
    TRINE_FIELD("host.nvlink_gb_per_s", "GB/s", 0, 1e4, host.nvlink_gb_per_s),
    TRINE_FIELD("host.nvlink_devices", "", 1, 1024, host.nvlink_devices),
    TRINE_FIELD("host.power_w", "W", 0, 1e6, host.power_w),
    TRINE_FIELD("host.usd", "USD", 0, kMost, host.usd),
    TRINE_FIELD("network.nics", "a host", 1, 1024, network.nics),
    TRINE_FIELD("network.nic_gb_per_s", "GB/s", 1e-3, 1e4, network.nic_gb_per_s),
    TRINE_FIELD("network.latency_us", "us", 0, 1e6, network.latency_us),
    TRINE_FIELD("network.oversubscription", "", 1, 1e3, network.oversubscription),
    TRINE_FIELD("collective.low_us", "us", 0, 1e6, collective.low_us),
    TRINE_FIELD("collective.hop_us", "us", 0, 1e6, collective.hop_us),
    TRINE_FIELD("collective.bulk_us", "us", 0, 1e6, collective.bulk_us),
    TRINE_FIELD("collective.bulk_hop_us", "us", 0, 1e6, collective.bulk_hop_us),
    TRINE_FIELD("collective.low_share", "of the bandwidth", 1e-3, 1, collective.low_share),
    TRINE_FIELD("collective.efficiency", "of the link", 1e-3, 1, collective.efficiency),
    TRINE_FIELD("collective.group_loss", "", 0, 1, collective.group_loss),
    TRINE_FIELD("collective.nvls_gb_per_s", "GB/s", 0, 1e4, collective.nvls_gb_per_s),
    TRINE_FIELD("collective.network_efficiency", "of the NICs", 1e-3, 1, collective.network_efficiency),
    TRINE_FIELD("price.device_usd", "USD", 0, kMost, device_usd),
    TRINE_FIELD("price.hour_usd", "USD", 0, kMost, hour_usd),
    TRINE_FIELD("failures.device_hours", "hours", 1e-3, 1e9, failure_device_hours),
});

constexpr auto kCpuFields = std::to_array<ProfileField>({
    TRINE_FIELD("cpu.cores", "", 1, 4096, cpu.cores),
    TRINE_FIELD("cpu.hosts", "", 1, 1e5, cpu.hosts),
    TRINE_FIELD("cpu.stream_gb_per_s", "GB/s", 1e-3, 1e5, cpu.stream_gb_per_s),
    TRINE_FIELD("cpu.stream_all_gb_per_s", "GB/s", 1e-3, 1e6, cpu.stream_all_gb_per_s),
    TRINE_FIELD("cpu.busy_slowdown", "times", 1, 100, cpu.busy_slowdown),
    TRINE_FIELD("cpu.wake_us", "us", 0, 1e6, cpu.wake_us),
    TRINE_FIELD("cpu.post_us", "us", 0, 1e6, cpu.post_us),
    TRINE_FIELD("cpu.step_us", "us", 0, 1e8, cpu.step_us),
});
#undef TRINE_FIELD
#undef TRINE_OPTIONAL

}  // namespace

std::span<const ProfileField> profile_fields() { return kFields; }

std::span<const ProfileField> cpu_fields() { return kCpuFields; }

}  // namespace trine
