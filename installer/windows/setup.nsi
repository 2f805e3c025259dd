; The setup program for Windows, per user and offline. Compiled by installer/windows/build.py:
;   makensis -NOCD -DFILES=... -DOUT=... -DVERSION=... -DNUMBERS=... -DKIBIBYTES=... -DICON=... setup.nsi
;
; For IT:  SETUP.exe /S [/D=C:\Folder]           silent; ends what runs, loses nothing
;          uninstall.exe /S [/REMOVE-WORKSPACE]  silent; the workspace stays unless told otherwise
; Exit codes: 0 done, 1 cancelled, 5 the program still runs and could not be ended.
Unicode true
Target amd64-unicode
!include MUI2.nsh
!include FileFunc.nsh
!include LogicLib.nsh
!include x64.nsh

!define NAME "FednnU-Net Desktop"
!define PUBLISHER "The FednnU-Net Desktop developers"
!define PROGID "FednnUNet.Invitation"
!define UNINSTALL_KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\FednnUNetDesktop"
!define OUR_KEY "Software\FednnUNetDesktop"
!define PROGRAM "fednnunet-desktop.exe"
!define WORKSPACE "$LOCALAPPDATA\FednnU-Net"

Name "${NAME}"
OutFile "${OUT}"
InstallDir "$LOCALAPPDATA\Programs\FednnU-Net Desktop"
InstallDirRegKey HKCU "${OUR_KEY}" "InstallDir"
RequestExecutionLevel user
ManifestDPIAware true
BrandingText "${NAME} ${VERSION} - for research use only"
!ifdef STORED
SetCompress off
!else ifdef SMALL
SetCompressor /SOLID lzma
SetCompressorDictSize 64
!else
SetCompressor zlib
!endif
SetDateSave off

VIProductVersion "${NUMBERS}"
VIAddVersionKey ProductName "${NAME}"
VIAddVersionKey ProductVersion "${VERSION}"
VIAddVersionKey CompanyName "${PUBLISHER}"
VIAddVersionKey FileDescription "${NAME} setup"
VIAddVersionKey FileVersion "${VERSION}"
VIAddVersionKey LegalCopyright "Apache License 2.0"

!define MUI_ICON "${ICON}"
!define MUI_UNICON "${ICON}"
!define MUI_ABORTWARNING
!insertmacro MUI_PAGE_WELCOME
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_INSTFILES
!define MUI_FINISHPAGE_RUN "$INSTDIR\${PROGRAM}"
!insertmacro MUI_PAGE_FINISH
!insertmacro MUI_UNPAGE_CONFIRM
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE English
!insertmacro MUI_LANGUAGE German

LangString STILL_RUNS ${LANG_ENGLISH} "${NAME} is still running. Its work is saved; close its window, then try again."
LangString STILL_RUNS ${LANG_GERMAN} "${NAME} läuft noch. Die Arbeit ist gesichert; bitte das Fenster schließen und wiederholen."
LangString KEEP_WORKSPACE ${LANG_ENGLISH} "Keep the workspace with keys, the joined study, models and verdicts?$\r$\n$\r$\n${WORKSPACE}"
LangString KEEP_WORKSPACE ${LANG_GERMAN} "Den Arbeitsordner mit Schlüsseln, Studie, Modellen und Bewertungen behalten?$\r$\n$\r$\n${WORKSPACE}"
LangString ONLY_64 ${LANG_ENGLISH} "${NAME} needs a 64-bit Windows 10 or newer."
LangString ONLY_64 ${LANG_GERMAN} "${NAME} braucht ein Windows 10 oder neuer mit 64 Bit."

; Ends what runs from this folder. A service saves its state whenever that changes, and one that is
; started again goes on where it was; it is asked first all the same. Whether something still runs is
; seen by a library that is in use: nobody can open it for writing.
!macro END_RUNNING un
Function ${un}EndRunning
    ${IfNot} ${FileExists} "$INSTDIR\python311.dll"
        Return
    ${EndIf}
    Call ${un}IsFree
    Pop $0
    ${If} $0 == 1
        Return
    ${EndIf}
    nsExec::Exec '"$INSTDIR\fednnunet.exe" site stop'
    Pop $0
again:
    StrCpy $1 0
    ${Do}
        Call ${un}IsFree
        Pop $0
        ${If} $0 == 1
            Return
        ${EndIf}
        ${If} $1 == 10
        ${AndIf} ${Silent}
            nsExec::Exec 'taskkill /F /T /IM fednnunet-desktop.exe'
            Pop $0
            nsExec::Exec 'taskkill /F /T /IM fednnunet.exe'
            Pop $0
        ${EndIf}
        Sleep 500
        IntOp $1 $1 + 1
    ${LoopUntil} $1 > 60
    IfSilent +2
    MessageBox MB_RETRYCANCEL|MB_ICONEXCLAMATION "$(STILL_RUNS)" IDRETRY again
    SetErrorLevel 5
    Quit
FunctionEnd

Function ${un}IsFree
    ClearErrors
    FileOpen $0 "$INSTDIR\python311.dll" a
    ${If} ${Errors}
        Push 0
    ${Else}
        FileClose $0
        Push 1
    ${EndIf}
FunctionEnd

; Everything that a version may have put there, and nothing else: the folder may hold other files.
Function ${un}RemoveProgram
    RMDir /r "$INSTDIR\Lib"
    RMDir /r "$INSTDIR\DLLs"
    RMDir /r "$INSTDIR\program"
    Delete "$INSTDIR\python311._pth"
    Delete "$INSTDIR\*.dll"
    Delete "$INSTDIR\fednnunet.exe"
    Delete "$INSTDIR\fednnunet-desktop.exe"
FunctionEnd
!macroend
!insertmacro END_RUNNING ""
!insertmacro END_RUNNING "un."

Function .onInit
    ${IfNot} ${RunningX64}
        MessageBox MB_ICONSTOP "$(ONLY_64)" /SD IDOK
        SetErrorLevel 1
        Quit
    ${EndIf}
FunctionEnd

Section "${NAME}"
    SectionIn RO
    Call EndRunning
    Call RemoveProgram
    !include "${FILES}"
    WriteUninstaller "$INSTDIR\uninstall.exe"
    CreateShortcut "$SMPROGRAMS\${NAME}.lnk" "$INSTDIR\${PROGRAM}"

    WriteRegStr HKCU "${OUR_KEY}" "InstallDir" "$INSTDIR"
    WriteRegStr HKCU "Software\Classes\.fedjoin" "" "${PROGID}"
    WriteRegStr HKCU "Software\Classes\.fedjoin" "Content Type" "application/x-fednnunet-invitation"
    WriteRegStr HKCU "Software\Classes\.fedjoin\OpenWithProgids" "${PROGID}" ""
    WriteRegStr HKCU "Software\Classes\${PROGID}" "" "Invitation to a FednnU-Net study"
    WriteRegStr HKCU "Software\Classes\${PROGID}\DefaultIcon" "" "$INSTDIR\${PROGRAM},1"
    WriteRegStr HKCU "Software\Classes\${PROGID}\shell\open\command" "" '"$INSTDIR\${PROGRAM}" "%1"'

    WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayName" "${NAME}"
    WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayVersion" "${VERSION}"
    WriteRegStr HKCU "${UNINSTALL_KEY}" "Publisher" "${PUBLISHER}"
    WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayIcon" "$INSTDIR\${PROGRAM},0"
    WriteRegStr HKCU "${UNINSTALL_KEY}" "InstallLocation" "$INSTDIR"
    WriteRegStr HKCU "${UNINSTALL_KEY}" "UninstallString" '"$INSTDIR\uninstall.exe"'
    WriteRegStr HKCU "${UNINSTALL_KEY}" "QuietUninstallString" '"$INSTDIR\uninstall.exe" /S'
    WriteRegDWORD HKCU "${UNINSTALL_KEY}" "EstimatedSize" ${KIBIBYTES}
    WriteRegDWORD HKCU "${UNINSTALL_KEY}" "NoModify" 1
    WriteRegDWORD HKCU "${UNINSTALL_KEY}" "NoRepair" 1
    ; Tell the desktop that an association has changed (SHCNE_ASSOCCHANGED).
    System::Call 'shell32::SHChangeNotify(i 0x08000000, i 0, p 0, p 0)'
SectionEnd

Section "un.${NAME}"
    Call un.EndRunning
    StrCpy $2 keep
    ${GetParameters} $0
    ClearErrors
    ${GetOptions} $0 "/REMOVE-WORKSPACE" $1
    ${IfNot} ${Errors}
        StrCpy $2 remove
    ${ElseIf} ${FileExists} "${WORKSPACE}\*.*"
        MessageBox MB_YESNO|MB_ICONQUESTION "$(KEEP_WORKSPACE)" /SD IDYES IDYES +2
        StrCpy $2 remove
    ${EndIf}
    Call un.RemoveProgram
    Delete "$INSTDIR\uninstall.exe"
    RMDir "$INSTDIR"
    Delete "$SMPROGRAMS\${NAME}.lnk"
    DeleteRegKey HKCU "Software\Classes\${PROGID}"
    ReadRegStr $0 HKCU "Software\Classes\.fedjoin" ""
    ${If} $0 == "${PROGID}"
        DeleteRegKey HKCU "Software\Classes\.fedjoin"
    ${EndIf}
    DeleteRegKey HKCU "${UNINSTALL_KEY}"
    DeleteRegKey HKCU "${OUR_KEY}"
    ${If} $2 == remove
        RMDir /r "${WORKSPACE}"
    ${EndIf}
    System::Call 'shell32::SHChangeNotify(i 0x08000000, i 0, p 0, p 0)'
SectionEnd
