#include "plan/memory_table.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

#include "base/text.h"

namespace trine {
namespace {

void add_line(MemoryLine line, std::vector<MemoryLine>& table) {
  for (MemoryLine& other : table)
    if (other.name == line.name && other.in_flight == line.in_flight) {
      other.bytes += line.bytes, other.buffers += line.buffers;
      return;
    }
  table.push_back(std::move(line));
}

}  // namespace

void describe_pool(const Graph& graph, const Pool& pool, std::span<const Buffer* const> members,
                   std::vector<MemoryLine>& table) {
  if (pool.slot_bytes == 0) return;
  std::vector<int64_t> change(graph.nodes().size() + 1, 0);
  const auto first = [](const Buffer* b) { return static_cast<size_t>(b->accesses.front().index); };
  const auto last = [](const Buffer* b) { return static_cast<size_t>(b->accesses.back().index); };
  for (const Buffer* b : members) change[first(b)] += b->bytes, change[last(b) + 1] -= b->bytes;
  int64_t live = 0, most = 0;
  size_t peak = 0;
  for (size_t n = 0; n < graph.nodes().size(); ++n)
    if ((live += change[n]) > most) most = live, peak = n;
  std::map<std::string, MemoryLine> by_name;
  for (const Buffer* b : members) {
    if (first(b) > peak || peak > last(b)) continue;
    MemoryLine& line = by_name.try_emplace(b->name, MemoryLine{.buffers = 0}).first->second;
    line.bytes += b->bytes * pool.num_slots;
    ++line.buffers;
  }
  std::vector<MemoryLine> lines;
  for (const auto& [name, line] : by_name)
    lines.push_back({pool.name, fmt::format("{}: {}", pool.name, name), line.bytes, line.buffers, pool.num_slots});
  std::stable_sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  if (pool.slot_bytes > most)
    lines.push_back({pool.name, fmt::format("{}: gaps between buffers", pool.name),
                     (pool.slot_bytes - most) * pool.num_slots, 1, pool.num_slots});
  for (MemoryLine& line : lines) add_line(std::move(line), table);
}

std::string print(const MemoryPlan& plan) {
  std::string text;
  const auto add = [&](const std::string& name, const std::string& times, int64_t bytes) {
    text +=
        fmt::format("  {:<46} {:>15} {:>17} B  {:>10}\n", name, times, format_count(bytes), format_bytes(bytes));
  };
  for (const MemoryLine& line : plan.table) {
    std::string times = line.buffers > 1 ? fmt::format("{}", line.buffers) : "";
    if (line.in_flight > 1) times += fmt::format("{}{} in flight", times.empty() ? "" : " x ", line.in_flight);
    add(line.name, times, line.bytes);
  }
  add("total (peak of the arena)", "", plan.total_bytes());
  return text;
}

}  // namespace trine
