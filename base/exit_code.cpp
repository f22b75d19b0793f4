#include "base/exit_code.h"

#include <filesystem>
#include <new>
#include <system_error>

namespace trine {
namespace {

// How the system says that it has no room for another thread.
bool out_of_resources(const std::system_error& error) {
  return error.code() == std::errc::resource_unavailable_try_again || error.code() == std::errc::not_enough_memory;
}

}  // namespace

ExitCode exit_code_of(const std::exception& error) {
  if (const auto* known = dynamic_cast<const Error*>(&error)) return known->code();
  if (dynamic_cast<const std::bad_alloc*>(&error)) return ExitCode::kOutOfMemory;
  if (const auto* system = dynamic_cast<const std::system_error*>(&error))  // a filesystem_error is one, too
    return out_of_resources(*system) ? ExitCode::kOutOfMemory : ExitCode::kData;
  return ExitCode::kOther;
}

std::string message_of(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error)) return "[memory] out of host memory.";
  if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error))
    return fmt::format("[file] {}: {}. Check the path, its permissions and the disk.", file->path1().string(),
                       file->code().message());
  if (const auto* system = dynamic_cast<const std::system_error*>(&error))
    return fmt::format("[system] {}. {}", system->what(),
                       out_of_resources(*system) ? "The host has no room for another thread: lower --threads, or "
                                                   "raise the limits (ulimit -u, ulimit -v)."
                                                 : "Check the disk and the limits of this process.");
  return error.what();
}

}  // namespace trine
