// Where C++ meets Rust: no exception leaves a function of the C ABI. It returns 0, or 1 for an error, or 2 for want of
// memory; the text of the last error of this thread is kiln_last_error().
#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <new>

namespace kiln {

// Keeps the text for kiln_last_error().
void keep(const char* text) noexcept;

template <class F>
int attempt(F&& f) noexcept {
  try {
    f();
    return 0;
  } catch (const c10::OutOfMemoryError& e) {
    keep(e.what_without_backtrace());
    return 2;
  } catch (const c10::Error& e) {
    keep(e.what_without_backtrace());
    return 1;
  } catch (const std::bad_alloc&) {
    keep("the process has no memory left");
    return 2;
  } catch (const std::exception& e) {
    keep(e.what());
    return 1;
  } catch (...) {
    keep("libtorch threw something that is not an exception");
    return 1;
  }
}

}  // namespace kiln

using kiln::attempt;
