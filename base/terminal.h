// What a stream is, for those who draw on it.
#pragma once

namespace trine {

// True of a terminal where \r and the escape code that erases a line work: not of files and pipes, and not where
// TERM is dumb.
bool can_erase_lines(int fd);

}  // namespace trine
