/* Starts the CPython that lies beside this program.
 *
 * Called by a person (or by the desktop with an invitation), it runs the program: python -P -m app.
 * Called with one of Python's own short options it is python.exe: by that, workers and the helper
 * processes of multiprocessing start, because sys.executable names this file.
 *
 * Built twice: as fednnunet.exe for terminals, with -DWINDOWED as fednnunet-desktop.exe.
 */
#ifndef UNICODE
#define UNICODE
#endif
#define _UNICODE
#include <windows.h>
#include <shellapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#define LONGEST 32768
typedef int (*PythonMain)(int, wchar_t **);

static int fail(const wchar_t *sentence) {
#ifdef WINDOWED
    MessageBoxW(NULL, sentence, L"FednnU-Net Desktop", MB_ICONERROR);
#else
    fwprintf(stderr, L"%ls\n", sentence);
#endif
    return 120;
}

/* One of Python's options of a single letter; ours are all long, and -h is ours. */
static int is_for_python(const wchar_t *word) {
    return word[0] == L'-' && word[1] != L'\0' && word[1] != L'-' && word[1] != L'h';
}

static int run(int count, wchar_t **words) {
    static wchar_t folder[LONGEST], library[LONGEST];
    DWORD length = GetModuleFileNameW(NULL, folder, LONGEST - 32);
    wchar_t *last = length ? wcsrchr(folder, L'\\') : NULL;
    if (last == NULL) {
        return fail(L"This program does not find its own folder.");
    }
    *last = L'\0';
    _snwprintf(library, LONGEST - 1, L"%ls\\python311.dll", folder);
    /* Only this folder and the system's: no library of the folder that somebody happens to be in. */
    SetDllDirectoryW(folder);
    HMODULE python = LoadLibraryExW(library, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
    if (python == NULL) {
        return fail(L"python311.dll is missing or damaged. Please install the program again.");
    }
    PythonMain start = (PythonMain)(void *)GetProcAddress(python, "Py_Main");
    if (start == NULL) {
        return fail(L"python311.dll is another one than expected. Please install again.");
    }
    if (count > 1 && is_for_python(words[1])) {
        return start(count, words);
    }
    wchar_t **ours = calloc((size_t)count + 4, sizeof *ours);
    if (ours == NULL) {
        return fail(L"There is not enough memory.");
    }
    ours[0] = words[0];
    ours[1] = L"-P";
    ours[2] = L"-m";
    ours[3] = L"app";
    for (int i = 1; i < count; i++) {
        ours[i + 3] = words[i];
    }
    return start(count + 3, ours);
}

#ifdef WINDOWED
int WINAPI wWinMain(HINSTANCE self, HINSTANCE before, PWSTR line, int show) {
    (void)self, (void)before, (void)line, (void)show;
    int count = 0;
    wchar_t **words = CommandLineToArgvW(GetCommandLineW(), &count);
    return words == NULL ? fail(L"The command line cannot be read.") : run(count, words);
}
#else
int wmain(int count, wchar_t **words) { return run(count, words); }
#endif
