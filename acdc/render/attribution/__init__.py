"""Attribution graphs as pictures, as a page for a browser, and in sentences that terminal and page share."""
