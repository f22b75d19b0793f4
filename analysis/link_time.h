// Bytes on links and the time they take: closed forms without latency, sharing or protocols.
#pragma once

namespace trine {

inline double transfer_s(double bytes, double bytes_per_s) { return bytes / bytes_per_s; }
// Network links are told in bits.
inline constexpr double bytes_per_s_of_gbit(double gbit_per_s) { return gbit_per_s * 1e9 / 8; }
// One direction of a PCIe link of that generation (16 GT/s in the fourth), with its 128b/130b code.
inline constexpr double pcie_bytes_per_s(double gt_per_s, double lanes) {
  return gt_per_s * 1e9 * lanes / 8 * 128 / 130;
}
// Bytes that each of n devices sends in a ring: a reduce_scatter and an all_gather of (n - 1) / n each.
inline double ring_all_reduce_bytes(double bytes, double n) { return 2 * (n - 1) / n * bytes; }

// With a latency for each of its 2 (n - 1) messages, one after another.
inline double ring_all_reduce_s(double bytes, double n, double bytes_per_s, double latency_s) {
  return 2 * (n - 1) * latency_s + transfer_s(ring_all_reduce_bytes(bytes, n), bytes_per_s);
}

}  // namespace trine
