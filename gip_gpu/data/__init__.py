"""Rows and scores: conversion of user input, exact rows, missing values, standardised scores."""
