// Read by the leak sanitizer, in builds that have one. fontconfig keeps a kilobyte of its configuration until the
// process ends, however many charts are drawn; cairo has no call that frees it.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libfontconfig\n"; }
// NOLINTEND(bugprone-reserved-identifier)
