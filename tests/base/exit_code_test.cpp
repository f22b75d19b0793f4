#include "base/exit_code.h"

#include <filesystem>
#include <gtest/gtest.h>

#include "base/file_system.h"

namespace trine {
namespace {

// Whatever reaches main() has the code and the words that the shell's user needs.
TEST(ExitCodes, OfEveryKindOfException) {
  const auto check = [](const std::exception& error, ExitCode code, const std::string& word) {
    EXPECT_EQ(exit_code_of(error), code) << error.what();
    EXPECT_NE(message_of(error).find(word), std::string::npos) << message_of(error);
  };
  check(ConfigError("[x] y"), ExitCode::kConfig, "[x] y");
  check(IoError("[x] y"), ExitCode::kData, "[x] y");
  check(std::bad_alloc(), ExitCode::kOutOfMemory, "host memory");
  const auto io = std::make_error_code(std::errc::io_error);
  check(std::filesystem::filesystem_error("status", "/some/path", io), ExitCode::kData, "/some/path");
  check(std::system_error(io, "cannot write to file"), ExitCode::kData, "cannot write to file");
  check(std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again)), ExitCode::kOutOfMemory,
        "--threads");
  check(std::logic_error("oops"), ExitCode::kOther, "oops");
}

}  // namespace
}  // namespace trine
