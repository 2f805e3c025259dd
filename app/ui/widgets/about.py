"""What this program is: its version, what it stands on, and its licences; and the report viewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QTabWidget,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from app.ui.text import NAME, NOT_FOR_CARE, PURPOSE_OF_PROGRAM
from app.ui.theme import GRID
from app.ui.widgets.card import FactGrid, NamedValue
from app.ui.widgets.labels import Button, label


class AboutDialog(QDialog):
    """Name, version, research use, versions of what it stands on, licences."""

    def __init__(
        self,
        parent: QWidget,
        *,
        version: str,
        facts: Sequence[NamedValue],
        licences: Mapping[str, str],
    ) -> None:
        """Make the dialog; `licences` are texts (Markdown) by the titles of their tabs."""
        super().__init__(parent)
        self.setWindowTitle(f"About {NAME}")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(3 * GRID, 3 * GRID, 3 * GRID, 2 * GRID)
        layout.setSpacing(GRID)
        layout.addWidget(label(NAME, "title"))
        layout.addWidget(label(version, "muted", selectable=True))
        layout.addWidget(label(PURPOSE_OF_PROGRAM))
        use = label(NOT_FOR_CARE)
        font = use.font()
        font.setBold(True)
        use.setFont(font)
        layout.addWidget(use)
        self.tabs = QTabWidget()
        versions = QWidget()
        column = QVBoxLayout(versions)
        column.addWidget(FactGrid(facts))
        column.addStretch(1)
        self.tabs.addTab(versions, "Versions")
        for title, text in licences.items():
            page = QTextBrowser()
            page.setMarkdown(text)
            page.setAccessibleName(title)
            self.tabs.addTab(page, title)
        layout.addWidget(self.tabs, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)
        self.resize(680, 620)


class ReportDialog(QDialog):
    """Every file of a problem report, exactly as it would be saved."""

    save_wished = Signal()

    def __init__(self, parent: QWidget, files: Sequence[tuple[str, str]]) -> None:
        """Make the dialog; `files` are names and contents."""
        super().__init__(parent)
        self.setWindowTitle("Report a problem")
        self._files = tuple(files)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2 * GRID, 2 * GRID, 2 * GRID, GRID)
        layout.setSpacing(GRID)
        layout.addWidget(
            label(
                "This is all that the report holds. Names of people, cases, folders and files are "
                "replaced by […]. Nothing is sent: save it, look at it, and give it to whom you like."
            )
        )
        row = QHBoxLayout()
        self.names = QListWidget()
        self.names.setAccessibleName("Files of the report")
        for name, _ in self._files:
            item = QListWidgetItem(name, self.names)
            item.setSizeHint(QSize(0, 3 * GRID + 4))
        self.names.setFixedWidth(240)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setAccessibleName("Contents of the file")
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        row.addWidget(self.names)
        row.addWidget(self.text, 1)
        layout.addLayout(row, 1)
        self.names.currentRowChanged.connect(self._show)
        if self._files:
            self.names.setCurrentRow(0)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        save = Button("Save as a zip file…", primary=True, clicked=self.save_wished.emit)
        buttons.addButton(save, QDialogButtonBox.ButtonRole.ActionRole)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)
        self.resize(920, 620)
        self.names.setFocus(Qt.FocusReason.OtherFocusReason)

    def _show(self, row: int) -> None:
        if 0 <= row < len(self._files):
            self.text.setPlainText(self._files[row][1])
