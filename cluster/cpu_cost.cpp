#include "cluster/cpu_cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace trine {
namespace {

double work_of(const CpuOpCost& op, double flops, double bytes) { return op.by_bytes ? bytes : flops; }

double fitted_us(const CpuOpCost& op, double work) { return op.constant_us + work / (op.giga_per_s * 1e3); }

// By how much measured shapes differ from constant + work / rate, for this much work: that of an equal shape, else
// between the nearest ones, in the logarithm of work.
double correction(const CpuOpCost& op, double flops, double bytes) {
  const auto near = [](double a, double b) { return std::abs(a - b) <= 1e-3 * std::max(a, b); };
  const double work = work_of(op, flops, bytes);
  const CpuOpCost::Shape *below = nullptr, *above = nullptr;
  for (const CpuOpCost::Shape& shape : op.shapes) {
    if (near(shape.flops, flops) && near(shape.bytes, bytes)) return shape.us / fitted_us(op, work);
    const double of_shape = work_of(op, shape.flops, shape.bytes);
    if (of_shape <= work && (!below || of_shape > work_of(op, below->flops, below->bytes))) below = &shape;
    if (of_shape >= work && (!above || of_shape < work_of(op, above->flops, above->bytes))) above = &shape;
  }
  const auto ratio = [&](const CpuOpCost::Shape& shape) {
    return shape.us / fitted_us(op, work_of(op, shape.flops, shape.bytes));
  };
  if (!below || !above) return below ? ratio(*below) : above ? ratio(*above) : 1;
  const double from = work_of(op, below->flops, below->bytes), to = work_of(op, above->flops, above->bytes);
  const double share = to > from && from > 0 ? std::log(work / from) / std::log(to / from) : 0.5;
  return ratio(*below) + share * (ratio(*above) - ratio(*below));
}

// Nothing that was measured: the mean rate of what is alike.
double guess_s(const CpuProfile& cpu, const Cost& cost, DType dtype, int threads) {
  const double bytes = static_cast<double>(cost.bytes_read + cost.bytes_written);
  double most = 0;
  for (const CpuOpCost& op : cpu.ops)
    if (op.dtype == dtype && !op.by_bytes) most = std::max(most, op.giga_per_s * threads / op.threads);
  const double products_s = most > 0 ? cost.flops / (most * 1e9) : 0;
  return std::max(products_s, bytes / (cpu.stream_gb_per_s * 1e9));
}

double at_bytes(const CpuTransferCost& cost, double bytes) {
  const auto& points = cost.points;
  const auto next = std::ranges::find_if(points, [&](const auto& point) { return point.bytes >= bytes; });
  if (next == points.begin()) return points.front().us;
  if (next == points.end()) {  // at the pace between the last two
    const auto& last = points.back();
    const auto& before = points.size() > 1 ? points[points.size() - 2] : CpuTransferCost::Point();
    return last.us + std::max(0.0, last.us - before.us) / (last.bytes - before.bytes) * (bytes - last.bytes);
  }
  const auto& before = *std::prev(next);
  return before.us + (next->us - before.us) * (bytes - before.bytes) / (next->bytes - before.bytes);
}

}  // namespace

double busy_factor(const CpuProfile& cpu, double streams, double busy) {
  if (busy <= 1 || cpu.cores <= 1) return 1;
  busy = std::min(busy, cpu.cores);
  const double memory = std::max(1.0, cpu.stream_gb_per_s * busy / cpu.stream_all_gb_per_s);
  const double core = 1 + (cpu.busy_slowdown - 1) * (busy - 1) / (cpu.cores - 1);
  return streams * memory + (1 - streams) * core;
}

CpuSeconds cpu_op_s(const CpuProfile& cpu, std::string_view name, const Cost& cost, DType dtype, int threads,
                    double busy) {
  // Of another number of threads: at the same rate a thread. One that is measured wins.
  const CpuOpCost* found = nullptr;
  for (const CpuOpCost& op : cpu.ops)
    if (op.op == name && op.dtype == dtype &&
        (!found || std::abs(op.threads - threads) < std::abs(found->threads - threads)))
      found = &op;
  if (!found) return {guess_s(cpu, cost, dtype, threads), false};
  const double bytes = static_cast<double>(cost.bytes_read + cost.bytes_written);
  const double alone =
      fitted_us(*found, work_of(*found, cost.flops, bytes)) * correction(*found, cost.flops, bytes);
  // The threads of an op that was measured alone kept as many cores busy themselves.
  const double factor = busy_factor(cpu, found->streams, busy) / busy_factor(cpu, found->streams, found->threads);
  return {alone * 1e-6 * found->threads / threads * factor, found->threads == threads};
}

double cpu_transfer_s(const CpuProfile& cpu, std::string_view kind, double bytes, int ranks, int hosts) {
  if (ranks < 2 || bytes <= 0) return 0;
  const CpuTransferCost* found = nullptr;
  double distance = std::numeric_limits<double>::infinity();
  for (const CpuTransferCost& cost : cpu.transfers) {
    if (cost.kind != kind) continue;
    const double far =
        std::abs(std::log2(static_cast<double>(ranks) / cost.ranks)) + ((cost.hosts > 1) != (hosts > 1) ? 100 : 0);
    if (far < distance) found = &cost, distance = far;
  }
  if (!found) return 2 * bytes / (cpu.stream_gb_per_s * 1e9);
  const double all = at_bytes(*found, bytes), constant = found->points.front().us;
  const auto others = [](int n) { return static_cast<double>(n - 1); };
  const double messages = others(ranks) / others(found->ranks), share = messages * found->ranks / ranks;
  return (constant * messages + (all - constant) * share) * 1e-6;
}

}  // namespace trine
