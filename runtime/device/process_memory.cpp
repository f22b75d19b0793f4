#include "runtime/device/process_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

#include "base/cgroup.h"

namespace trine {
namespace {

std::optional<int64_t> parse_integer(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end == text.data()) return std::nullopt;
  return value;
}

// The number behind `key` in a file of "key number" lines.
std::optional<int64_t> number_behind(const std::filesystem::path& file, std::string_view key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(key)) return parse_integer(std::string_view(line).substr(key.size()));
  return std::nullopt;
}

std::optional<int64_t> only_number(const std::filesystem::path& file) { return number_behind(file, ""); }

// Both versions say the same in files of different names.
struct CgroupFiles {
  const char *limit, *usage, *reclaimable_cache;
};
constexpr CgroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "};
constexpr CgroupFiles kVersion2 = {"memory.max", "memory.current", "inactive_file "};

// What the tightest limit leaves; nullopt if there is none ("max").
std::optional<int64_t> left_in_cgroups(const std::filesystem::path& root) {
  std::optional<int64_t> left;
  for (const ControlGroups& groups : control_groups("memory", root)) {
    const CgroupFiles& files = groups.version == 1 ? kVersion1 : kVersion2;
    for (const std::filesystem::path& folder : groups.folders) {
      const auto limit = only_number(folder / files.limit), usage = only_number(folder / files.usage);
      if (!limit || !usage) continue;
      const int64_t cache = number_behind(folder / "memory.stat", files.reclaimable_cache).value_or(0);
      const int64_t here = std::max<int64_t>(*limit - (*usage - std::min(cache, *usage)), 0);
      left = std::min(left.value_or(here), here);
    }
  }
  return left;
}

}  // namespace

int64_t resident_bytes() {
  if (const auto kib = number_behind("/proc/self/status", "VmRSS:")) return *kib * 1024;
  return peak_resident_bytes();
}

int64_t peak_resident_bytes() {
  if (const auto kib = number_behind("/proc/self/status", "VmHWM:")) return *kib * 1024;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

int64_t resident_bytes_in(const void* begin, size_t size_bytes) {
  const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t from = reinterpret_cast<uintptr_t>(begin), to = from + size_bytes;
  constexpr size_t kPagesAtOnce = 1 << 16;
  std::vector<unsigned char> in_core(kPagesAtOnce);
  int64_t resident = 0;
  for (uintptr_t chunk = from / page * page; chunk < to; chunk += kPagesAtOnce * page) {
    const size_t length = std::min<size_t>(to - chunk, kPagesAtOnce * page);
    if (::mincore(reinterpret_cast<void*>(chunk), length, in_core.data()) != 0)
      continue;  // not mapped: nothing there
    for (size_t i = 0; i * page < length; ++i) {
      const uintptr_t page_begin = chunk + i * page;
      if (in_core[i] & 1)
        resident += static_cast<int64_t>(std::min(page_begin + page, to) - std::max(page_begin, from));
    }
  }
  return resident;
}

int64_t available_bytes(const std::filesystem::path& root) {
  const auto kib = number_behind(root / "proc/meminfo", "MemAvailable:");
  const int64_t machine = kib ? *kib * 1024 : int64_t{::sysconf(_SC_AVPHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  return std::min(machine, left_in_cgroups(root).value_or(machine));
}

}  // namespace trine
