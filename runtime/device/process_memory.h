// What this process takes of the machine's memory, and what it may still take: measured, never planned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace trine {

int64_t resident_bytes();       // now
int64_t peak_resident_bytes();  // ever (VmHWM)

// How many of these bytes have memory behind them. Pages that were allocated and never touched have none.
int64_t resident_bytes_in(const void* begin, size_t size_bytes);

// What can still be allocated before something is killed: MemAvailable, or what the limits of this process' control
// groups (version 1 or 2, its ancestors' too) leave, if that is less. Page cache that the kernel would give up
// counts as available in both. `root` is where proc and sys are found.
int64_t available_bytes(const std::filesystem::path& root = "/");

}  // namespace trine
